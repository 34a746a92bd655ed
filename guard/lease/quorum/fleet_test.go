package quorum_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func init() { redis.SetLogger(silence{}) } // it logs every dial that a test makes fail

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// waitLimit bounds each wait; a busy machine stays below.
const waitLimit = 30 * time.Second

// fleet is processes over a few servers, each of which is behind a proxy.
type fleet struct {
	servers []*redistest.Server
	proxies []*redistest.Proxy
}

func newFleet(t *testing.T, n int, args ...string) *fleet {
	t.Helper()
	f := &fleet{servers: redistest.StartN(t, n, args...)}
	for _, s := range f.servers {
		f.proxies = append(f.proxies, redistest.NewProxy(t, s.Addr()))
	}
	return f
}

// store is that of a process of its own.
func (f *fleet) store(t *testing.T) *quorum.Store {
	t.Helper()
	stores := make([]lease.Store, len(f.proxies))
	for i, p := range f.proxies {
		client := redis.NewClient(&redis.Options{Addr: p.Addr()})
		t.Cleanup(func() { _ = client.Close() }) // after the guard's shutdown
		stores[i] = redisstore.New(client)
	}
	s, err := quorum.New(stores...)
	must(t, err)
	return s
}

// guard is that of a process of its own. The test's end shuts it down.
func (f *fleet) guard(t *testing.T, opts ...guard.Option) *guard.Guard {
	t.Helper()
	g, err := guard.New(f.store(t), opts...)
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
		defer cancel()
		must(t, g.Shutdown(ctx))
	})
	return g
}

// everywhere waits until each server has a lease on key. A run begins when a majority has
// granted it, and an order that reaches the last server before the lease does finds nobody there.
func everywhere(t testing.TB, servers []*redistest.Server, key string) {
	t.Helper()
	for i, server := range servers {
		store := redisstore.New(server.Client(t))
		for deadline := time.Now().Add(waitLimit); ; time.Sleep(time.Millisecond) {
			found, err := store.Inspect(t.Context(), key)
			if must(t, err); found.Holding > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("server %d: %s is not held within %v", i+1, key, waitLimit)
			}
		}
	}
}

// outcome is what a run returns that has been told to end, or has lost its lease.
func outcome(t testing.TB, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(waitLimit):
		t.Fatalf("the run goes on after %v", waitLimit)
		return nil
	}
}

// resource is what runs under a key write to. It is the judge.
type resource struct {
	inside atomic.Int32
	last   int64 // guarded by the lease under test
	runs   atomic.Int64
}

func (r *resource) use(t testing.TB, ctx context.Context, work time.Duration) {
	if n := r.inside.Add(1); n != 1 {
		t.Errorf("%d runs at once", n)
	}
	token, ok := guard.Fence(ctx)
	if !ok || token <= r.last {
		t.Errorf("token %d after %d", token, r.last)
	}
	r.last = token
	r.runs.Add(1)
	select {
	case <-time.After(work):
	case <-ctx.Done():
	}
	r.inside.Add(-1)
}

// contend has workers in each of the guards run under key until stop is closed.
func contend(t *testing.T, guards []*guard.Guard, workers int, keys int, work time.Duration, stop <-chan struct{}) []*resource {
	resources := make([]*resource, keys)
	for i := range resources {
		resources[i] = &resource{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i := range workers {
		g, k := guards[i%len(guards)], i%keys
		wg.Go(func() {
			for {
				err := g.Do(ctx, fmt.Sprintf("key %d", k), func(ctx context.Context) error {
					resources[k].use(t, ctx, work)
					return nil
				})
				switch {
				case err == nil:
				case ctx.Err() != nil && !errors.Is(err, guard.ErrLost):
					return
				default:
					t.Errorf("Do: %v", err)
				}
				if ctx.Err() != nil {
					return
				}
			}
		})
	}
	<-stop
	cancel()
	wg.Wait()
	return resources
}

func after(d time.Duration) <-chan struct{} {
	done := make(chan struct{})
	time.AfterFunc(d, func() { close(done) })
	return done
}

func TestRunsAreExclusiveWithRisingTokensAcrossProcesses(t *testing.T) {
	for _, n := range []int{3, 5} {
		f := newFleet(t, n)
		var guards []*guard.Guard
		for range 4 {
			guards = append(guards, f.guard(t))
		}
		for i, r := range contend(t, guards, 8, 1, time.Millisecond, after(2*time.Second)) {
			t.Logf("%d servers, key %d: %d runs", n, i, r.runs.Load())
			if r.runs.Load() < 50 {
				t.Errorf("%d runs in 2 s", r.runs.Load())
			}
		}
	}
}

// A server that keeps its data comes back at once, one that loses it after a TTL.
func TestServersThatAreKilledInTurnLoseNothing(t *testing.T) {
	t.Parallel()
	ttl, every, least := 2*time.Second, 5*time.Second, int64(100)
	if quorum.RaceDetector { // a busy machine takes half a second for a round trip then
		ttl, every, least = 5*time.Second, 8*time.Second, 20
	}
	for name, c := range map[string]struct {
		args []string
		away time.Duration
	}{
		"with data":    {[]string{"--appendonly", "yes", "--appendfsync", "always"}, 100 * time.Millisecond},
		"without data": {nil, ttl + ttl/10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3, c.args...)
			var guards []*guard.Guard
			for range 4 {
				guards = append(guards, f.guard(t, guard.TTL(ttl)))
			}
			stop := make(chan struct{})
			go func() { // ends when all have been killed
				defer close(stop)
				for i := range *killings {
					time.Sleep(every - c.away)
					s := f.servers[i%len(f.servers)]
					s.Kill()
					time.Sleep(c.away)
					s.Restart()
				}
				time.Sleep(time.Second)
			}()
			long := make(chan error, 1)
			go func() { // one lease that must survive it all
				long <- guards[0].Do(t.Context(), "long", func(ctx context.Context) error {
					select {
					case <-stop:
						return nil
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				})
			}()
			for i, r := range contend(t, guards, 16, 4, 5*time.Millisecond, stop) {
				t.Logf("key %d: %d runs", i, r.runs.Load())
				if r.runs.Load() < least {
					t.Errorf("key %d: %d runs", i, r.runs.Load())
				}
			}
			must(t, outcome(t, long))
		})
	}
}

// On a busy machine some first tries take so long that a script follows.
func TestAFreeKeyIsMostlyAcquiredWithoutAScript(t *testing.T) {
	const keys, runs = 8, 80
	f := newFleet(t, 3)
	g := f.guard(t)
	do := func(n int) {
		for i := range n {
			must(t, g.Do(t.Context(), fmt.Sprint("k", i%keys), func(context.Context) error { return nil }))
		}
	}
	do(keys) // the first in a slot is a script
	for _, server := range f.servers {
		server.Client(t).ConfigResetStat(t.Context())
	}
	do(runs)
	scripts := 0
	for _, server := range f.servers {
		var n int
		stats := server.Client(t).Info(t.Context(), "commandstats").Val()
		_, after, _ := strings.Cut(stats, "cmdstat_evalsha:calls=")
		_, err := fmt.Sscanf(after, "%d", &n)
		must(t, err)
		scripts += n
	}
	if all := runs * len(f.servers); scripts > all*3/2 {
		t.Errorf("%d scripts in %d runs on %d servers, want little more than %d, the releases", scripts, runs, len(f.servers), all)
	}
}

// killings is how many servers are killed, in turn.
var killings = flag.Int("killings", 3, "how many servers TestServersThatAreKilledInTurnLoseNothing kills, one every 5 s, or 8 s with the race detector")

func TestOneServerThatDoesNotAnswerCostsLittle(t *testing.T) {
	f := newFleet(t, 3)
	g := f.guard(t)
	do := func(n int) (took time.Duration) {
		began := time.Now()
		for range n {
			must(t, g.Do(t.Context(), "k", func(context.Context) error { return nil }))
		}
		return time.Since(began) / time.Duration(n)
	}
	const tries = 5 // this machine may have more to do in one half of a comparison than in the other
	for try := 1; ; try++ {
		do(50)
		healthy := do(200)
		f.proxies[1].Blackhole(redistest.Both)
		first := do(1)
		rest := do(200)
		f.proxies[1].Heal()
		t.Logf("a Do takes %v; with one server of three blackholed the first %v, others %v", healthy, first, rest)
		switch {
		case first <= 2*time.Second && rest <= 3*healthy+time.Millisecond:
			return
		case try == tries:
			t.Fatal("the first takes more than the time of an attempt, or others more than three times that of one without the fault")
		}
	}
}
