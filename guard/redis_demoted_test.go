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
	old := redistest.Start(t)
	next := redistest.StartReplica(t, old)
	var address atomic.Value
	address.Store(old.Addr())
	admin := old.Client(t)
	must(t, admin.Set(t.Context(), "guard:first", "stranger", 0))
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
	for !subscribed() {
		time.Sleep(10 * time.Millisecond)
	}
	next.Promote(t)
	old.Follow(t, next)
	address.Store(next.Addr())
	time.Sleep(2500 * time.Millisecond) // polls hit READONLY and move over
	if !subscribed() {
		t.Fatal("the subscriptions did not stay: nothing is shown")
	}

	end, ended := hold(t, onRedis(t, next.Addr()), "k")
	var inside, most atomic.Int64
	var runs sync.WaitGroup
	for _, g := range guards {
		runs.Go(func() {
			err := g.Do(t.Context(), "k", func(ctx context.Context) error {
				n := inside.Add(1)
				defer inside.Add(-1)
				most.Store(max(most.Load(), n))
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(300 * time.Millisecond):
					return nil
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
		time.Sleep(20 * time.Millisecond)
	}
	end()
	<-ended
	runs.Wait()
	if n := most.Load(); n > 1 {
		t.Errorf("%d holders at once", n)
	}
}
