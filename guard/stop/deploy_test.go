package stop_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/internal/redistest"
)

// waitLimit bounds each wait; a busy machine stays below.
const waitLimit = 30 * time.Second

// balancer sends requests to replicas in turn, to those that say they are ready.
type balancer struct {
	client *http.Client

	mu    sync.Mutex
	ready []string // addresses
	next  int
}

// add waits until the replica is ready, and sends requests to it until it is not. The
// goroutine ends then, or with ctx.
func (b *balancer) add(ctx context.Context, t *testing.T, watches *sync.WaitGroup, addr string) {
	t.Helper()
	for end := time.Now().Add(waitLimit); !b.asks(addr); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s is not ready", addr)
		}
	}
	b.mu.Lock()
	b.ready = append(b.ready, addr)
	b.mu.Unlock()
	watches.Go(func() {
		for ctx.Err() == nil && b.asks(addr) {
			time.Sleep(20 * time.Millisecond)
		}
		b.mu.Lock()
		b.ready = slices.DeleteFunc(b.ready, func(a string) bool { return a == addr })
		b.mu.Unlock()
	})
}

// asks looks at the readiness.
func (b *balancer) asks(addr string) bool {
	res, err := b.client.Get("http://" + addr + "/readyz")
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body) // so that the connection is used again
	return res.StatusCode == http.StatusOK
}

func (b *balancer) pick() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return b.ready[b.next%len(b.ready)]
}

func (b *balancer) post(path string) (string, error) {
	res, err := b.client.Post("http://"+b.pick()+path, "", http.NoBody)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), err
}

// last is telemetry, which is to be told of the end last.
type last struct{ ended atomic.Bool }

func (l *last) Shutdown(ctx context.Context) error {
	l.ended.Store(true)
	return ctx.Err()
}

// Three replicas of the example are replaced one after another, while clients buy all the
// time, many of them the same thing.
func TestRollingDeployIsNotNoticedByClients(t *testing.T) {
	s := redistest.Start(t)
	b := &balancer{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}
	ctx, cancel := context.WithCancel(t.Context())
	var watches, clients sync.WaitGroup
	begin := func() *program {
		p, err := start(s.Addr(), func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(5 * time.Millisecond)
			_, _ = io.WriteString(w, "sold")
		}, &last{})
		if err != nil {
			t.Fatal(err)
		}
		p.noticed = 2 * time.Second // a watch asks every 20 ms
		b.add(ctx, t, &watches, p.addr.String())
		return p
	}
	end := func(p *program) {
		began := time.Now()
		if err := p.steps().Stop(); err != nil || !p.provider.(*last).ended.Load() {
			t.Errorf("Stop() = %v after %v", err, time.Since(began))
		}
	}
	old := []*program{begin(), begin(), begin()}
	queue := asynq.NewClient(asynq.RedisClientOpt{Addr: s.Addr()})
	var sold, enqueued atomic.Int32
	for i := range 16 {
		clients.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				body, err := b.post(fmt.Sprintf("/stock/%d", i%3))
				if err != nil || body != "sold" {
					t.Errorf("client %d got %q, %v", i, body, err)
					return
				}
				sold.Add(1)
				if n%10 == 0 {
					if _, err := queue.Enqueue(asynq.NewTask("order:ship", fmt.Appendf(nil, `{"order_id": %d}`, i))); err != nil {
						t.Error(err)
					}
					enqueued.Add(1)
				}
			}
		})
	}
	var now []*program
	for _, p := range old {
		now = append(now, begin())
		end(p)
	}
	before := sold.Load()
	for wait := time.Now().Add(waitLimit); sold.Load() < before+20; time.Sleep(time.Millisecond) {
		if time.Now().After(wait) {
			t.Error("after the deploy clients are not served")
			break
		}
	}
	cancel()
	clients.Wait()
	watches.Wait()
	t.Logf("%d requests and %d tasks", sold.Load(), enqueued.Load())
	allTasksAreDone(t, s.Addr())
	_ = queue.Close() // nothing is written any more
	for _, p := range now {
		p.noticed = 0 // nobody asks any more
		end(p)
	}
	b.client.CloseIdleConnections()
}

// allTasksAreDone waits until no task is in asynq's queue.
func allTasksAreDone(t *testing.T, addr string) {
	t.Helper()
	inspector := asynq.NewInspector(asynq.RedisClientOpt{Addr: addr})
	defer inspector.Close()
	for end := time.Now().Add(waitLimit); ; time.Sleep(10 * time.Millisecond) {
		info, err := inspector.GetQueueInfo("default")
		if err == nil && info.Size == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("tasks are left: %+v, %v", info, err)
			return
		}
	}
}
