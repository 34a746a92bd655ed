package guard_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/internal/redistest"
)

// Behind a proxy or a DNS name connections move one by one when the primary
// changes: those for commands at the first READONLY, the one for wake-ups when a beacon
// shows that the new primary does not count it. Until then the replica, the old primary,
// passes every message on.
func TestRedisSubscriptionLeftOnADemotedPrimaryStartsNobody(t *testing.T) {
	t.Parallel()
	for range 5 {
		n, staged := holdersBesideDemotedPrimary(t)
		if n > 1 {
			t.Fatalf("%d holders at once", n)
		}
		if staged {
			return
		}
		t.Log("not staged: once more") // a waiter gives up if the servers take too long to change places
	}
	t.Fatal("never staged: nothing is shown")
}

// holdersBesideDemotedPrimary returns how many of three guards, which were subscribed
// to the old primary when it was demoted, were inside at the same time.
func holdersBesideDemotedPrimary(t *testing.T) (most int64, staged bool) {
	old := redistest.Start(t)
	next := redistest.StartReplica(t, old)
	var address atomic.Value
	address.Store(old.Addr())
	admin, nextAdmin := old.Client(t), next.Client(t)
	sent(t, admin.Set(t.Context(), "guard:first", "stranger", 0))
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	guards := make([]*guard.Guard, 3)
	for i := range guards {
		client := redis.NewClient(&redis.Options{Addr: "redis:6379", Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address.Load().(string))
		}})
		guards[i] = onClient(t, client, nil)
		waiting.Go(func() { _ = guards[i].Do(ctx, "first", nothing) }) // keeps the subscription, until cancel
	}
	subscribed := func() bool { return len(admin.PubSubChannels(t.Context(), "*").Val()) == len(guards) }
	eventually(t, "three subscriptions", subscribed)
	lines := admin.Keys(t.Context(), "guard:w:*first").Val()
	if len(lines) != 1 {
		t.Fatalf("the waiters are in %q, want one queue", lines)
	}
	next.Promote(t)
	address.Store(next.Addr()) // at once: a waiter for whom the store fails as long as TTL gives up
	old.Follow(t, next)
	sent(t, nextAdmin.Del(t.Context(), lines[0])) // who polls there is in it again
	moved := func() bool { return nextAdmin.ZCard(t.Context(), lines[0]).Val() == int64(len(guards)) }
	for deadline := time.Now().Add(10 * time.Second); !moved(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return 0, false
		}
	}
	end, ended := hold(t, onRedis(t, next.Addr()), "k")
	var inside, top atomic.Int64
	var runs sync.WaitGroup
	for _, g := range guards {
		runs.Go(func() {
			noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
				n := inside.Add(1)
				defer inside.Add(-1)
				top.Store(max(top.Load(), n))
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(300 * time.Millisecond):
					return nil
				}
			}))
		})
		time.Sleep(20 * time.Millisecond)
	}
	end()
	<-ended
	runs.Wait()
	return top.Load(), true
}
