package redistest

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/internal/testserver"
)

const (
	masters = 3
	slots   = 16384
)

// A Cluster is a Redis Cluster of three masters, without replicas but those that
// StartReplica adds. When a master without one is down for longer than a second the other two refuse commands as well
// (CLUSTERDOWN), until it is back.
type Cluster struct {
	nodes []*Server
	ids   []string // cluster node ids, in the order of nodes
}

// StartCluster starts a Cluster and returns when its nodes agree on who serves
// which slot and all three take writes. That takes some three seconds, most of
// them a delay built into Redis: share a Cluster between subtests. args go to
// every node.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{}
	for range masters {
		node := Start(t, append([]string{
			"--cluster-enabled", "yes",
			"--cluster-config-file", "nodes.conf",
			"--cluster-node-timeout", "1000",
		}, args...)...)
		c.nodes = append(c.nodes, node)
		c.ids = append(c.ids, fmt.Sprint(node.must(t, "CLUSTER", "MYID")))
	}
	for i, node := range c.nodes {
		node.must(t, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		node.must(t, shareOf(i)...)
		node.must(t, "CLUSTER", "MEET", "127.0.0.1", c.nodes[0].Port())
	}
	c.Await(t)
	return c
}

// shareOf is the command that gives master i its third of the slots. It names
// every slot, because ADDSLOTSRANGE came only with Redis 7.
func shareOf(i int) []any {
	command := []any{"CLUSTER", "ADDSLOTS"}
	for slot := i * slots / masters; slot < (i+1)*slots/masters; slot++ {
		command = append(command, slot)
	}
	return command
}

// Await returns when all nodes agree and all take writes again, as after a
// Restart of one of them.
func (c *Cluster) Await(t testing.TB) {
	t.Helper()
	for _, node := range c.nodes {
		if !testserver.Poll(func() bool { return healthy(node) }) {
			t.Fatalf("redistest: cluster node %s is not ok; %s", node.Addr(), node.Log())
		}
	}
	c.awaitAgreement(t)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()})
	defer func() { _ = client.Close() }() // its answers have been read
	for _, node := range c.nodes {
		key := c.KeyOn(t, node, "redistest")
		if !testserver.Poll(func() bool { return writable(client, key) }) {
			t.Fatalf("redistest: cluster node %s takes no writes; %s", node.Addr(), node.Log())
		}
	}
}

// awaitAgreement returns when all nodes know of each other the same epochs and slots. A
// node that takes a slot before it has heard of another's new epoch may take the same one
// for itself; what resolves that can leave a slot that nobody serves.
func (c *Cluster) awaitAgreement(t testing.TB) {
	t.Helper()
	if !testserver.Poll(c.agrees) {
		for _, node := range c.nodes {
			t.Errorf("redistest: cluster node %s knows %q", node.Addr(), layout(node))
		}
		t.FailNow()
	}
}

func (c *Cluster) agrees() bool {
	first := layout(c.nodes[0])
	for _, node := range c.nodes[1:] {
		if first == nil || !slices.Equal(layout(node), first) {
			return false
		}
	}
	return true
}

// layout returns what a node says in CLUSTER NODES of each master, in the order of their
// ids: id, epoch and slots, without what is under way. It is nil if the node does not answer.
func layout(node *Server) []string {
	text, err := ask(node.Addr(), "CLUSTER NODES")
	if err != nil {
		return nil
	}
	var all []string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) >= 8 {
			served := slices.DeleteFunc(fields[8:], func(s string) bool { return strings.HasPrefix(s, "[") })
			all = append(all, strings.Join(append([]string{fields[0], fields[6]}, served...), " "))
		}
	}
	slices.Sort(all)
	return all
}

func healthy(node *Server) bool {
	info, err := ask(node.Addr(), "CLUSTER INFO")
	return err == nil &&
		fieldOf(info, "cluster_state") == "ok" &&
		fieldOf(info, "cluster_slots_ok") == fmt.Sprint(slots) &&
		fieldOf(info, "cluster_known_nodes") == fmt.Sprint(masters)
}

func writable(client *redis.ClusterClient, key string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return client.Set(ctx, key, "", 0).Err() == nil && client.Del(ctx, key).Err() == nil
}

// StartReplica starts a replica of one of the masters, and returns when it has what its
// master holds and all masters would let it take over. Restart is not for such a Cluster.
func (c *Cluster) StartReplica(t testing.TB, master *Server) *Server {
	t.Helper()
	replica := Start(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "1000")
	replica.must(t, "CLUSTER", "MEET", "127.0.0.1", master.Port())
	id := c.id(master)
	replicates := func() bool {
		told, err := ask(replica.Addr(), "CLUSTER REPLICATE "+id) // fails until it knows the master
		return err == nil && strings.Contains(told, "OK")
	}
	if !testserver.Poll(replicates) || !testserver.Poll(replica.linked) {
		t.Fatalf("redistest: %s does not replicate %s; %s", replica.Addr(), master.Addr(), replica.Log())
	}
	for _, node := range c.nodes {
		known := func() bool {
			text, err := ask(node.Addr(), "CLUSTER NODES")
			return err == nil && strings.Contains(text, "slave "+id)
		}
		if !testserver.Poll(known) {
			t.Fatalf("redistest: %s does not know the replica of %s", node.Addr(), master.Addr())
		}
	}
	c.awaitAgreement(t)
	return replica
}

// Nodes returns the three masters.
func (c *Cluster) Nodes() []*Server { return c.nodes }

// Addrs returns host:port of the three masters.
func (c *Cluster) Addrs() []string { return addrs(c.nodes) }

// Client returns a new client with go-redis' defaults, changed by opts. It is
// closed when t ends.
func (c *Cluster) Client(t testing.TB, opts ...func(*redis.ClusterOptions)) *redis.ClusterClient {
	t.Helper()
	o := &redis.ClusterOptions{Addrs: c.Addrs()}
	for _, opt := range opts {
		opt(o)
	}
	client := redis.NewClusterClient(o)
	t.Cleanup(func() {
		_ = client.Close() // the test may have closed it itself
		awaitDialers()
	})
	return client
}

// awaitDialers returns when no client dials a dead node any more: go-redis v9.23 goes on for up to a
// second after Close, which looks like a leak. Other tests' clients may do so for longer.
func awaitDialers() {
	stacks := make([]byte, 4<<20)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("(*ConnPool).tryDial")) {
			return
		}
	}
}

// Slot returns the hash slot of key.
func (c *Cluster) Slot(t testing.TB, key string) int {
	t.Helper()
	slot, ok := c.nodes[0].must(t, "CLUSTER", "KEYSLOT", key).(int64)
	if !ok {
		t.Fatalf("redistest: CLUSTER KEYSLOT %q gave no number", key)
	}
	return int(slot)
}

// Master returns the node that serves key.
func (c *Cluster) Master(t testing.TB, key string) *Server {
	t.Helper()
	return c.serving(t, c.Slot(t, key))
}

// KeyOn returns a key that node serves and that begins with prefix.
func (c *Cluster) KeyOn(t testing.TB, node *Server, prefix string) string {
	t.Helper()
	for i := range 1000 { // misses all of a third of the slots once in 1e176
		key := fmt.Sprintf("%s:%d", prefix, i)
		if c.Master(t, key) == node {
			return key
		}
	}
	t.Fatalf("redistest: no key found for %s", node.Addr())
	return ""
}

// serving returns the node that says of itself that it serves slot.
func (c *Cluster) serving(t testing.TB, slot int) *Server {
	t.Helper()
	for _, node := range c.nodes {
		if servesSlot(node, slot) {
			return node
		}
	}
	t.Fatalf("redistest: no master serves slot %d", slot)
	return nil
}

// servesSlot looks for slot in what a node says of itself in CLUSTER NODES: after
// eight other fields "0-5460", "7000", and "[93-<-id]" for what is under way. A
// dead node serves nothing.
func servesSlot(node *Server, slot int) bool {
	text, err := ask(node.Addr(), "CLUSTER NODES")
	if err != nil {
		return false
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 || !strings.Contains(fields[2], "myself") {
			continue
		}
		for _, served := range fields[8:] {
			var first, last int
			switch n, _ := fmt.Sscanf(served, "%d-%d", &first, &last); n {
			case 1:
				last = first
			case 0:
				continue
			}
			if first <= slot && slot <= last {
				return true
			}
		}
	}
	return false
}

// A SlotMigration is a slot on its way from one master to another. While it
// lasts, commands on keys of the slot meet ASK (all their keys have moved) or
// TRYAGAIN (some have).
type SlotMigration struct {
	c        *Cluster
	slot     int
	from, to *Server
}

// Migrate begins to move the slot of key to another master: the slot is
// MIGRATING at its old master and IMPORTING at the new one, and no key has moved
// yet. The test decides how far it goes.
func (c *Cluster) Migrate(t testing.TB, key string, to *Server) *SlotMigration {
	t.Helper()
	slot := c.Slot(t, key)
	m := &SlotMigration{c: c, slot: slot, from: c.serving(t, slot), to: to}
	if m.from == to {
		t.Fatalf("redistest: slot %d of %q is at %s already", slot, key, to.Addr())
	}
	to.must(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", c.id(m.from))
	m.from.must(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", c.id(to))
	return m
}

// MoveKeys moves these keys, which must lie in the slot. Absent ones do not
// matter.
func (m *SlotMigration) MoveKeys(t testing.TB, keys ...string) {
	t.Helper()
	for _, key := range keys {
		m.from.must(t, "MIGRATE", "127.0.0.1", m.to.Port(), key, 0, testserver.Patience.Milliseconds())
	}
}

// Finish moves what is left in the slot, gives it to the new master, and returns when all
// nodes agree on that.
func (m *SlotMigration) Finish(t testing.TB) {
	t.Helper()
	for {
		keys, ok := m.from.must(t, "CLUSTER", "GETKEYSINSLOT", m.slot, 100).([]any)
		if !ok {
			t.Fatalf("redistest: CLUSTER GETKEYSINSLOT %d gave no list", m.slot)
		}
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			m.MoveKeys(t, fmt.Sprint(key))
		}
	}
	// The new master first: should the old one go first, it would for a moment
	// send clients on to a node that does not feel responsible.
	owner := m.c.id(m.to)
	m.to.must(t, "CLUSTER", "SETSLOT", m.slot, "NODE", owner)
	for _, node := range m.c.nodes {
		if node != m.to {
			node.must(t, "CLUSTER", "SETSLOT", m.slot, "NODE", owner)
		}
	}
	m.c.awaitAgreement(t)
}

func (c *Cluster) id(node *Server) string {
	for i, n := range c.nodes {
		if n == node {
			return c.ids[i]
		}
	}
	return "not a node of this cluster: " + strings.Join(c.Addrs(), " ")
}
