package guard_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// manyRuns is many runs, each under a key of its own.
type manyRuns struct {
	guard.ObserverDefaults

	inside, outside sync.WaitGroup
	leave           chan struct{} // closed when all functions may return

	failed   atomic.Pointer[error] // of a Do
	events   atomic.Pointer[error] // of a loss, or a release that failed
	released atomic.Int64
}

func (m *manyRuns) RunEnd(_ context.Context, e guard.RunEnd) {
	if e.Release == guard.ReleaseDone {
		m.released.Add(1)
	}
}

func (m *manyRuns) Event(_ context.Context, e guard.Event) {
	if e.Kind == guard.EventLost || e.Kind == guard.EventReleaseFailed {
		m.events.CompareAndSwap(nil, &e.Err)
	}
}

// gather returns when n runs are inside. They leave when leave is closed, or their
// context ends.
func (m *manyRuns) gather(t *testing.T, g *guard.Guard, n int) {
	t.Helper()
	m.leave = make(chan struct{})
	g = g.With(guard.Observe(m))
	busy := make(chan struct{}, 256)
	for i := range n {
		busy <- struct{}{}
		m.inside.Add(1)
		m.outside.Go(func() {
			arrive := sync.OnceFunc(func() { <-busy; m.inside.Done() })
			defer arrive()
			err := g.Do(context.Background(), fmt.Sprintf("key-%d", i), func(ctx context.Context) error {
				arrive()
				select {
				case <-m.leave:
				case <-ctx.Done():
				}
				return nil
			})
			if err != nil {
				m.failed.CompareAndSwap(nil, &err)
			}
		})
	}
	m.inside.Wait()
}

// The server is so far away that the releases take longer than two attempts of one:
// each must wait for its turn. A busy machine may seem silent for as long as an attempt.
func TestRedisRunsThatEndTogetherAreAllReleased(t *testing.T) {
	const runs, tries = 8000, 3
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	for try := 1; ; try++ {
		g := onRedis(t, proxy.Addr(), guard.TTL(time.Minute))
		var m manyRuns
		proxy.Delay(0)
		m.gather(t, g, runs)
		proxy.Delay(25 * time.Millisecond) // 128 commands in 50 ms

		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		start := time.Now()
		_ = g.Shutdown(ctx)
		m.outside.Wait()
		n := m.released.Load()
		t.Logf("%d of %d runs are released after %v", n, runs, time.Since(start))
		if err := m.failed.Load(); err != nil {
			t.Fatalf("Do = %v", *err)
		}
		if n == runs {
			return
		}
		if err := m.events.Load(); err != nil {
			t.Logf("the first that is not: %v", *err)
		}
		if try == tries {
			t.Fatal("releases that only had to wait have failed")
		}
	}
}

func TestRedisRunsThatEndTogetherReturnWhileRedisIsGone(t *testing.T) {
	server := redistest.Start(t)
	g := newGuard(t, redisstore.New(server.Client(t)), guard.TTL(time.Minute))
	var m manyRuns
	m.gather(t, g, 5000)
	server.Pause()
	defer server.Resume()
	start := time.Now()
	close(m.leave)
	m.outside.Wait()
	if took := time.Since(start); took > 15*time.Second { // two attempts of a second each; the leases live longer
		t.Errorf("Do returned after %v", took)
	}
	if err := m.failed.Load(); err != nil {
		t.Errorf("Do = %v", *err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := g.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown() = %v", err)
	}
}
