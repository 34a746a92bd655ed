package redistest_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/internal/redistest"
)

func TestSentinelReplacesADeadPrimary(t *testing.T) {
	t.Parallel()
	g := redistest.StartSentinel(t, 1)
	c := g.Client(t)
	if err := c.Set(within(t), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := g.Current(); got != g.Primary {
		t.Fatalf("the current primary is %v", got)
	}
	if n := g.Primary.Client(t).Wait(within(t), 1, 0).Val(); n != 1 {
		t.Fatalf("WAIT = %d", n)
	}
	g.Primary.Kill()
	if now := g.AwaitFailover(t, g.Primary); now != g.Replicas[0] {
		t.Fatalf("%v took over", now.Addr())
	}
	eventually(t, "the client finds the new primary", func() bool {
		return c.Get(within(t), "k").Val() == "v"
	})
}

func TestSentinelFailsOverOnDemand(t *testing.T) {
	t.Parallel()
	g := redistest.StartSentinel(t, 2)
	now := g.Failover(t)
	if now == g.Primary {
		t.Fatal("the old primary is the new one")
	}
	c := g.Client(t, func(o *redis.FailoverOptions) { o.MaxRetries = 5 })
	eventually(t, "the new primary takes writes", func() bool {
		return c.Set(within(t), "k", "v", 0).Err() == nil
	})
	if got := now.Client(t).Get(within(t), "k").Val(); got != "v" {
		t.Errorf("the new primary holds %q", got)
	}
}
