package guard_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// The tests in redis_*_test.go run against real redis-server processes. Each
// guard has a client and a Store of its own, as each process of a fleet has.

// onRedis returns a guard over the server at addr. It is shut down with the test.
func onRedis(t testing.TB, addr string, opts ...guard.Option) *guard.Guard {
	t.Helper()
	return onClient(t, redis.NewClient(&redis.Options{Addr: addr}), nil, opts...)
}

// onClient is onRedis over a client that it closes: Shutdown must not.
func onClient(t testing.TB, client redis.UniversalClient, store []redisstore.Option, opts ...guard.Option) *guard.Guard {
	t.Helper()
	g := newGuard(t, redisstore.New(client, store...), opts...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		noError(t, g.Shutdown(ctx))
		if err := client.Close(); errors.Is(err, redis.ErrClosed) {
			t.Error("Shutdown closed the client")
		}
	})
	return g
}

// eventually waits until what is there, and fails the test if it does not come.
func eventually(t testing.TB, what string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !there(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// arrives returns what comes on c, and fails the test if nothing does: else a first failure
// elsewhere would keep all others waiting.
func arrives[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// awaitRun waits for a run to begin, and fails the test if Do returns instead.
func awaitRun(t testing.TB, running <-chan struct{}, result <-chan error) {
	t.Helper()
	select {
	case <-running:
	case err := <-result:
		t.Fatalf("Do() = %v before fn ran", err)
	case <-time.After(time.Minute):
		t.Fatal("fn does not run")
	}
}

// sent fails the test if a Redis command failed.
func sent(t testing.TB, cmd interface{ Err() error }) {
	t.Helper()
	if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
}

// inTime fails the test if f takes longer than limit.
func inTime(t testing.TB, limit time.Duration, what string, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if d := time.Since(start); d > limit {
		t.Errorf("%s took %v, more than %v", what, d.Round(time.Millisecond), limit)
	}
}

// lost waits for ctx to end and returns its cause.
func lost(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}
