package redistest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/internal/redistest"
)

// A Cluster takes seconds to start, so these tests share one.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	t.Run("AllMastersTakeWrites", func(t *testing.T) { allMastersTakeWrites(t, c) })
	t.Run("MigratingSlotAnswersTryagainAndAsk", func(t *testing.T) { migratingSlot(t, c) })
	t.Run("MovedSlotIsKnownToAllNodes", func(t *testing.T) { movedSlotIsKnown(t, c) })
	t.Run("ClientGoesThroughProxies", func(t *testing.T) { clientGoesThroughProxies(t, c) })
	t.Run("ComesBackAfterARestart", func(t *testing.T) { comesBackAfterARestart(t, c) })
}

func allMastersTakeWrites(t *testing.T, c *redistest.Cluster) {
	client := c.Client(t)
	for _, node := range c.Nodes() {
		key := c.KeyOn(t, node, "write")
		if err := client.Set(within(t), key, "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got := node.Client(t).Get(within(t), key).Val(); got != "v" {
			t.Errorf("%s = %q at the node that serves it", key, got)
		}
	}
}

func migratingSlot(t *testing.T, c *redistest.Cluster) {
	const moved, stays = "{move}:1", "{move}:2"
	client := c.Client(t)
	for _, key := range []string{moved, stays} {
		if err := client.Set(within(t), key, key, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	from, to := c.Master(t, moved), c.Nodes()[0]
	if from == to {
		to = c.Nodes()[1]
	}
	m := c.Migrate(t, moved, to)
	old := from.Client(t)
	if got := old.Get(within(t), moved).Val(); got != moved {
		t.Errorf("before it moved: %q", got)
	}
	m.MoveKeys(t, moved, "{move}:absent")
	if err := old.Get(within(t), moved).Err(); err == nil || !strings.HasPrefix(err.Error(), "ASK ") {
		t.Errorf("a key that has moved answers %v", err)
	}
	if err := old.MGet(within(t), moved, stays).Err(); err == nil || !strings.HasPrefix(err.Error(), "TRYAGAIN ") {
		t.Errorf("keys of which one has moved answer %v", err)
	}
	m.Finish(t)
	if got := c.Master(t, stays); got != to {
		t.Errorf("the slot is at %s", got.Addr())
	}
	if err := old.Get(within(t), stays).Err(); err == nil || !strings.HasPrefix(err.Error(), "MOVED ") {
		t.Errorf("the old master answers %v", err)
	}
	for _, key := range []string{moved, stays} {
		if got := client.Get(within(t), key).Val(); got != key {
			t.Errorf("%s = %q after the migration", key, got)
		}
	}
	c.Await(t)
}

// With the epoch under which it moved: the next move counts on it.
func movedSlotIsKnown(t *testing.T, c *redistest.Cluster) {
	epoch := func(node *redistest.Server) string {
		_, after, found := strings.Cut(node.Client(t).ClusterInfo(within(t)).Val(), "cluster_current_epoch:")
		if !found {
			t.Fatalf("%s tells no epoch", node.Addr())
		}
		return strings.Fields(after)[0]
	}
	for _, to := range c.Nodes() {
		key := "moves-twice"
		if c.Master(t, key) == to {
			continue
		}
		c.Migrate(t, key, to).Finish(t)
		first := epoch(c.Nodes()[0])
		for _, node := range c.Nodes()[1:] {
			if got := epoch(node); got != first {
				t.Errorf("moved to %s: epoch %s at %s, %s at the first node", to.Addr(), got, node.Addr(), first)
			}
		}
	}
}

func clientGoesThroughProxies(t *testing.T, c *redistest.Cluster) {
	var proxies []*redistest.Proxy
	for _, node := range c.Nodes() {
		proxies = append(proxies, redistest.NewProxy(t, node.Addr()))
	}
	client := c.Client(t, func(o *redis.ClusterOptions) {
		o.Dialer = redistest.DialVia(proxies...)
		o.ReadTimeout, o.MaxRedirects = time.Second, -1
	})
	node := c.Nodes()[2]
	key := c.KeyOn(t, node, "proxied")
	if err := client.Set(within(t), key, "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	proxies[2].Blackhole(redistest.Both)
	if err := client.Get(within(t), key).Err(); err == nil {
		t.Error("the node was reached past its proxy")
	}
	proxies[2].Heal()
	if got := client.Get(within(t), key).Val(); got != "v" {
		t.Errorf("after Heal %s = %q", key, got)
	}
}

func comesBackAfterARestart(t *testing.T, c *redistest.Cluster) {
	client, node := c.Client(t), c.Nodes()[1]
	key := c.KeyOn(t, node, "restart")
	if err := client.Set(within(t), key, "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	node.Restart()
	c.Await(t)
	if n := client.Exists(within(t), key).Val(); n != 0 {
		t.Error("a master without persistence kept a key over a restart")
	}
	if err := client.Set(within(t), key, "v", 0).Err(); err != nil {
		t.Error(err)
	}
}
