package quorum_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/httpmw"
)

func TestHandlersRunOneAtATime(t *testing.T) {
	t.Parallel()
	f, r := newFleet(t, 3), &resource{}
	var servers []*httptest.Server
	for range 3 {
		mux := http.NewServeMux()
		mux.Handle("POST /stock/{sku}", httpmw.New(f.guard(t), httpmw.PathValue("sku"))(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
			r.use(t, q.Context(), 2*time.Millisecond)
		})))
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		servers = append(servers, server)
	}
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			answer, err := http.Post(servers[i%3].URL+"/stock/7", "", nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = answer.Body.Close() }()
			if answer.StatusCode != http.StatusOK {
				t.Errorf("status %d", answer.StatusCode)
			}
		})
	}
	wg.Wait()
	if n := r.runs.Load(); n != 30 {
		t.Errorf("%d runs of 30 requests", n)
	}
}

// The queue of tasks is on one Redis, the leases are on three others.
func TestTasksRunOneAtATime(t *testing.T) {
	t.Parallel()
	f, r := newFleet(t, 3), &resource{}
	conn := asynq.RedisClientOpt{Addr: newFleet(t, 1).servers[0].Addr()}
	for range 2 {
		mw, err := asynqmw.New(f.guard(t), asynqmw.PayloadField("order"), asynqmw.WithRedis(conn))
		must(t, err)
		mux := asynq.NewServeMux()
		mux.Use(mw.Handler)
		mux.HandleFunc("ship", func(ctx context.Context, _ *asynq.Task) error {
			r.use(t, ctx, 2*time.Millisecond)
			return nil
		})
		server := asynq.NewServer(conn, mw.Config(asynq.Config{Concurrency: 4, LogLevel: asynq.FatalLevel}))
		must(t, server.Start(mux))
		t.Cleanup(server.Shutdown)
	}
	client := asynq.NewClient(conn)
	t.Cleanup(func() { _ = client.Close() })
	const tasks = 20
	for range tasks {
		_, err := client.EnqueueContext(t.Context(), asynq.NewTask("ship", []byte(`{"order": 42}`)))
		must(t, err)
	}
	within(t, waitLimit, "all tasks", func() bool { return r.runs.Load() >= tasks })
	if n := r.runs.Load(); n != tasks {
		t.Errorf("%d runs of %d tasks", n, tasks)
	}
}

// Replicas see each tick at the same time. One server is killed meanwhile, and comes back
// without its data.
func TestEachTickRunsOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	var mu sync.Mutex
	runs := make(map[time.Time]int)
	var failures atomic.Int64
	for range 3 {
		c := cron.New(cron.WithSeconds())
		jobs, err := cronwrap.New(c, f.guard(t), cronwrap.OnError(func(e *cronwrap.Error) { failures.Add(1); t.Logf("reported: %v", e) }))
		must(t, err)
		_, err = jobs.Add("* * * * * *", "report", func(ctx context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			runs[cronwrap.Tick(ctx)]++
			return nil
		})
		must(t, err)
		c.Start()
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
			defer cancel()
			must(t, jobs.Shutdown(ctx))
		})
	}
	time.Sleep(3 * time.Second)
	f.servers[0].Kill()
	time.Sleep(3 * time.Second)
	f.servers[0].Restart()
	time.Sleep(3 * time.Second)
	mu.Lock()
	defer mu.Unlock()
	if len(runs) < 7 {
		t.Errorf("%d ticks ran in 9 s", len(runs))
	}
	for tick, n := range runs {
		if n != 1 {
			t.Errorf("the tick of %v ran %d times", tick, n)
		}
	}
	t.Logf("%d ticks ran, %d reports", len(runs), failures.Load())
}

func within(t *testing.T, d time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, d)
		}
	}
}
