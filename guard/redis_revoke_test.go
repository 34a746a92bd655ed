package guard_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// operator is a Store for inspection and orders.
func operator(t testing.TB, client redis.UniversalClient) *redisstore.Store {
	t.Helper()
	t.Cleanup(func() { _ = client.Close() })
	return redisstore.New(client)
}

// A revocation costs the operator's command, and the message: two half round trips.
func TestRedisRevokeEndsContextsWithinMilliseconds(t *testing.T) {
	const runs, limit = 25, 2 * time.Second // a busy machine; the median tells
	server := redistest.Start(t)
	g := onRedis(t, server.Addr())
	op := operator(t, server.Client(t))
	var times []time.Duration
	for range runs {
		var told ending
		running, result := make(chan struct{}), make(chan error, 1)
		go func() {
			result <- g.Do(t.Context(), "k", func(ctx context.Context) error {
				time.Sleep(150 * time.Millisecond) // listens by now
				close(running)
				return told.await(ctx)
			})
		}()
		awaitRun(t, running, result)
		asked := time.Now()
		must(t, op.Revoke(t.Context(), "k", "test"))
		wantError(t, arrives(t, "the result", result), guard.ErrRevoked)
		times = append(times, told.at.Sub(asked))
	}
	slices.Sort(times)
	began := time.Now()
	sent(t, server.Client(t).Ping(t.Context()))
	t.Logf("Revoke to the end of the context: median %v, p99 %v; a first round trip takes %v",
		times[runs/2], times[runs*99/100-1], time.Since(began))
	if median := times[runs/2]; median > 100*time.Millisecond {
		t.Errorf("the median is %v, more than 100 ms", median)
	}
	if worst := times[runs-1]; worst > limit {
		t.Errorf("the worst is %v, more than %v", worst, limit)
	}
}

func TestRedisRevokedKeyPassesToTheNextInLine(t *testing.T) {
	server := redistest.Start(t)
	a, b := onRedis(t, server.Addr()), onRedis(t, server.Addr())
	revokedPassesOn(t, operator(t, server.Client(t)), a, b)
}

func TestRedisClusterRevokedKeyPassesToTheNextInLine(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	a, b := onClient(t, cluster.Client(t), nil), onClient(t, cluster.Client(t), nil)
	revokedPassesOn(t, operator(t, cluster.Client(t)), a, b)
}

// revokedPassesOn: under each mode, Revoke returns while the revoked run cleans up, and the
// next begins after.
func revokedPassesOn(t *testing.T, op *redisstore.Store, a, b *guard.Guard) {
	for name, options := range map[string][]guard.Option{"exclusive": nil, "limit": {guard.Limit(1)}, "shared": {guard.Shared()}} {
		t.Run(name, func(t *testing.T) {
			key := "job-" + name
			running, told, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			var over time.Time
			go func() {
				result <- a.With(options...).Do(t.Context(), key, func(ctx context.Context) error {
					close(running)
					<-ctx.Done()
					<-told
					time.Sleep(100 * time.Millisecond)
					over = time.Now()
					return nil
				})
			}()
			awaitRun(t, running, result)
			next := make(chan time.Time, 1)
			go func() {
				noError(t, b.Do(t.Context(), key, func(context.Context) error {
					next <- time.Now()
					return nil
				}))
			}()
			eventually(t, "the waiter", func() bool {
				i, err := op.Inspect(t.Context(), key)
				must(t, err)
				return len(i.Queue) == 1
			})
			must(t, op.Revoke(t.Context(), key, "test"))
			close(told)
			wantError(t, arrives(t, "the result", result), guard.ErrRevoked)
			if began := arrives(t, "the next run", next); began.Before(over) {
				t.Errorf("the next run began %v before the revoked one had ended", over.Sub(began))
			}
		})
	}
}

func TestRedisBreakFreesTheKeyOfAHolderThatIsAlive(t *testing.T) {
	server := redistest.Start(t)
	a, b := onRedis(t, server.Addr(), guard.TTL(time.Minute)), onRedis(t, server.Addr())
	admin := server.Client(t)
	op := operator(t, admin)
	running, result := make(chan struct{}), make(chan error, 1)
	var old int64
	go func() {
		result <- a.Do(t.Context(), "k", func(ctx context.Context) error {
			old, _ = guard.Fence(ctx)
			close(running)
			return lost(ctx)
		})
	}()
	awaitRun(t, running, result)
	eventually(t, "the holder to listen", func() bool {
		return len(admin.PubSubChannels(t.Context(), "guard:inbox:*").Val()) == 1
	})
	must(t, op.Break(t.Context(), "k"))
	must(t, b.Do(t.Context(), "k", func(ctx context.Context) error {
		if token, _ := guard.Fence(ctx); token <= old {
			t.Errorf("token %d after %d", token, old)
		}
		return nil
	}))
	inTime(t, 10*time.Second, "the loss", func() { wantError(t, arrives(t, "the result", result), guard.ErrLost) }) // not at the renewal, after 20 s
}

// A holder does not listen before its lease is 100 ms old: it is told then. It has half a second
// to answer, in which a busy machine may not let it subscribe: one of several is told.
func TestRedisBreakReachesAYoungHolder(t *testing.T) {
	server := redistest.Start(t)
	op := operator(t, server.Client(t))
	const tries = 5
	for try := range tries {
		a, key := onRedis(t, server.Addr(), guard.TTL(time.Minute)), fmt.Sprint("k", try)
		running, result := make(chan struct{}), make(chan error, 1)
		go func() {
			result <- a.Do(t.Context(), key, func(ctx context.Context) error {
				close(running)
				return lost(ctx)
			})
		}()
		awaitRun(t, running, result)
		got, err := op.BreakHolder(t.Context(), lease.Order{Key: key})
		if must(t, err); len(got.Told) != 1 || got.Silent != nil {
			t.Logf("BreakHolder() = %+v", got)
			continue
		}
		err = arrives(t, "the result", result) // not at the renewal, after 20 s
		wantError(t, err, guard.ErrLost)
		if !strings.Contains(err.Error(), "an operator has broken the lease") {
			t.Errorf("Do() = %v, without the reason", err)
		}
		return
	}
	t.Errorf("none of %d young holders was told", tries)
}
