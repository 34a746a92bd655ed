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
// changes: those for commands at the first READONLY, the one for wake-ups not as
// long as it lives. The new primary then counts no listener, while its replica,
// the old one, passes every message on.
func TestRedisSubscriptionLeftOnADemotedPrimaryStartsNobody(t *testing.T) {
	for range 5 {
		if n, shown := holdersBesideDemotedPrimary(t); n > 1 {
			t.Fatalf("%d holders at once", n)
		} else if shown {
			return
		}
		// A process that had no turn for two seconds takes its connection for dead, and
		// a waiter gives up if the servers take too long to change places.
		t.Log("not staged: once more")
	}
	t.Fatal("never staged: nothing is shown")
}

// holdersBesideDemotedPrimary returns how many of three guards were inside at the
// same time, and whether their subscriptions were left on the old primary for all
// of it.
func holdersBesideDemotedPrimary(t *testing.T) (most int64, shown bool) {
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
	if !subscribed() {
		return 0, false
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
	shown = subscribed() // when the first grant is made
	runs.Wait()
	return top.Load(), shown
}
