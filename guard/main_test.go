package guard_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(childEnv); addr != "" {
		if os.Getenv(churnEnv) != "" {
			churn(addr)
		}
		if os.Getenv(queueEnv) != "" {
			waitInLine(addr)
		}
		child(addr)
		return
	}
	goleak.VerifyTestMain(m)
}

// newGuard returns a guard over store.
func newGuard(t testing.TB, store lease.Store, opts ...guard.Option) *guard.Guard {
	t.Helper()
	g, err := guard.New(store, opts...)
	must(t, err)
	return g
}

// twoProcesses returns two guards over one in-memory store. They share no
// state, so they stand for two processes.
func twoProcesses(t testing.TB, opts ...guard.Option) (store *guardtest.Store, a, b *guard.Guard) {
	t.Helper()
	store = guardtest.NewStore()
	return store, newGuard(t, store, opts...), newGuard(t, store, opts...)
}

// inBubble runs f in a synctest bubble with a guard over a store in memory.
func inBubble(t *testing.T, f func(t *testing.T, store *guardtest.Store, g *guard.Guard), opts ...guard.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		f(t, store, newGuard(t, store, opts...))
	})
}

// inBubble2 is inBubble for two processes.
func inBubble2(t *testing.T, f func(t *testing.T, store *guardtest.Store, a, b *guard.Guard), opts ...guard.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store, a, b := twoProcesses(t, opts...)
		f(t, store, a, b)
	})
}

// hold runs g.Do(key) on a goroutine and returns, once it runs, what ends it
// and where its result arrives.
func hold(t testing.TB, g *guard.Guard, key string) (end func(), result <-chan error) {
	t.Helper()
	running, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- g.Do(context.Background(), key, func(context.Context) error {
			close(running)
			<-release
			return nil
		})
	}()
	select {
	case <-running:
	case err := <-done:
		t.Fatalf("Do(%q) = %v before it ran", key, err)
	case <-time.After(30 * time.Second):
		t.Fatalf("Do(%q) did not start", key)
	}
	return func() { close(release) }, done
}

func nothing(context.Context) error { return nil }

// untilDone is an fn that works until its context ends.
func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// ending has an fn that works until its context ends, and then knows when and why.
type ending struct {
	at  time.Time
	why error
}

func (e *ending) await(ctx context.Context) error {
	<-ctx.Done()
	e.at, e.why = time.Now(), context.Cause(ctx)
	return nil
}

// stalls returns a function that tells for how long this process had no turn, at
// worst, since then.
func stalls(t testing.TB) (worst func() time.Duration) {
	const every = 5 * time.Millisecond
	var most atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for ctx.Err() == nil {
			asleep := time.Now()
			time.Sleep(every)
			most.Store(max(most.Load(), int64(time.Since(asleep)-every)))
		}
	}()
	return func() time.Duration {
		cancel()
		return time.Duration(most.Load())
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("the error is %v, want %v", err, want)
	}
}

func noneLeft(t testing.TB, store *guardtest.Store) {
	t.Helper()
	if keys := store.Keys(); len(keys) > 0 {
		t.Errorf("%q are left", keys)
	}
}
