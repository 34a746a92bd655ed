package redisstore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestCluster(t *testing.T) {
	cluster := redistest.StartCluster(t)
	tests := []struct {
		name string
		run  func(*testing.T, *redistest.Cluster)
	}{
		{"a prefix with a tag keeps everything on one shard", clusterPrefixTag},
		{"requests follow a slot that moved", clusterMoved},
		{"exclusive locks go on while the slot moves", clusterMoving},
		{"leases under a limit go on while the slot moves", clusterMovingLimit},
		{"a dead shard does not delay the others", clusterDeadShard}, // last: it stops a node
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, cluster) })
	}
}

func clusterPrefixTag(t *testing.T, cluster *redistest.Cluster) {
	p := newProcess(t, cluster.Client(t), redisstore.Prefix("{jobs}:"))
	for _, key := range []string{"a", "b{x}", "{"} {
		owner := p.NewOwner("")
		p.granted(key, owner)
		p.refused(key, p.NewOwner(""), 0)
		if n := p.client.Exists(t.Context(), "{jobs}:"+key).Val(); n != 1 {
			t.Errorf("%q has no lease under its own name", key)
		}
		p.release(key, owner)
	}
}

func other(t *testing.T, cluster *redistest.Cluster, key string) *redistest.Server {
	at := cluster.Master(t, key)
	for _, node := range cluster.Nodes() {
		if node != at {
			return node
		}
	}
	panic("one node")
}

func clusterMoved(t *testing.T, cluster *redistest.Cluster) {
	p := newProcess(t, cluster.Client(t))
	for _, key := range []string{"moved-1", "moved-2", "moved-3"} {
		owner, waiter := p.NewOwner(""), p.NewOwner("")
		p.granted(key, owner)
		p.refused(key, waiter, 0)
		cluster.Migrate(t, "guard:"+key, other(t, cluster, "guard:"+key)).Finish(t)
		r := lease.RenewRequest{Key: key, Owner: owner, TTL: ttl}
		for i, reply := range p.Renew(within(t, 5*time.Second), []lease.RenewRequest{r, r, {Key: "elsewhere", Owner: owner, TTL: ttl}}) {
			if reply.Err != nil || reply.Held != (i < 2) {
				t.Errorf("%d: %+v", i, reply)
			}
		}
		if !p.release(key, owner) {
			t.Error("not released")
		}
		p.granted(key, waiter)
		p.release(key, waiter)
	}
}

// While a slot moves, some keys of a lock are on one node and some on the other; the
// lease and its companions move at any time.
func clusterMoving(t *testing.T, cluster *redistest.Cluster) {
	p := newProcess(t, cluster.Client(t))
	for i, moved := range [][]string{{}, {"guard:%s"}, {"guard:h:{%s}:%s"}, {"guard:tokens:{%s}"}, {"guard:%s", "guard:h:{%s}:%s", "guard:tokens:{%s}"}} {
		key := fmt.Sprint("moving", i)
		tag := redisstore.TagOf("guard:" + key)
		owner, waiter := p.NewOwner(""), p.NewOwner("")
		first := p.granted(key, owner)
		ticket := p.refused(key, waiter, 0).Ticket
		move := cluster.Migrate(t, "guard:"+key, other(t, cluster, "guard:"+key))
		for _, name := range moved {
			name = strings.ReplaceAll(strings.ReplaceAll(name, "{%s}", "{"+tag+"}"), "%s", key)
			if len(p.client.Keys(t.Context(), name).Val()) > 0 || strings.HasPrefix(name, "guard:tokens") || name == "guard:"+key {
				move.MoveKeys(t, name)
			}
		}
		if r := p.renew(key, owner); !r.Held || r.Err != nil {
			t.Errorf("%v: renew: %+v", moved, r)
		}
		if r := p.refused(key, waiter, ticket); r.Holder != owner || r.Ticket != ticket {
			t.Errorf("%v: a waiter got %+v", moved, r)
		}
		if !p.release(key, owner) {
			t.Errorf("%v: not released", moved)
		}
		next := p.granted(key, waiter)
		if next.Fence <= first.Fence || next.TokenCount != 1 {
			t.Errorf("%v: %d tokens from %d after %d", moved, next.TokenCount, next.Fence, first.Fence)
		}
		if r := p.granted(key, waiter); r.Fence <= next.Fence { // its own retry
			t.Errorf("%v: token %d after %d", moved, r.Fence, next.Fence)
		}
		if !p.release(key, waiter) {
			t.Errorf("%v: not released", moved)
		}
		free := p.NewOwner("") // a key that never was held
		p.granted(key+"{free", free)
		p.release(key+"{free", free)
		move.Finish(t)
		p.granted(key, owner)
		p.release(key, owner)
	}
}

func clusterMovingLimit(t *testing.T, cluster *redistest.Cluster) {
	p := newProcess(t, cluster.Client(t))
	for limit, moved := range map[lease.Limit]string{2: "guard:%s", lease.Shared: "guard:h:{%s}:%s"} {
		key := fmt.Sprint("limited", limit)
		owners := []string{p.NewOwner(""), p.NewOwner("")}
		for _, owner := range owners {
			r, err := p.acquire(lease.AcquireRequest{Key: key, Owner: owner, Limit: limit, Join: true})
			if err != nil || !r.Granted {
				t.Fatalf("%+v, %v", r, err)
			}
		}
		move := cluster.Migrate(t, "guard:"+key, other(t, cluster, "guard:"+key))
		move.MoveKeys(t, strings.ReplaceAll(strings.ReplaceAll(moved, "{%s}", "{"+redisstore.TagOf("guard:"+key)+"}"), "%s", key))
		renew := func(owner string) lease.RenewReply {
			return p.Renew(within(t, time.Second), []lease.RenewRequest{{Key: key, Owner: owner, Limit: limit, TTL: ttl}})[0]
		}
		if r := renew(owners[0]); !r.Held || r.Err != nil {
			t.Errorf("limit %d: renew: %+v", limit, r)
		}
		r, err := p.Release(within(t, time.Second), lease.ReleaseRequest{Key: key, Owner: owners[0], Limit: limit, Place: lease.Place{Reservation: reservation}})
		if err != nil || !r.Released {
			t.Errorf("limit %d: release: %+v, %v", limit, r, err)
		}
		if r := renew(owners[0]); r.Held || r.Err != nil {
			t.Errorf("limit %d: renewed after the release: %+v", limit, r)
		}
		if _, err := p.try(key, p.NewOwner(""), 0); err != nil {
			t.Errorf("limit %d: an exclusive owner: %v, want refused", limit, err)
		}
		move.Finish(t)
		if r := renew(owners[1]); !r.Held || r.Err != nil {
			t.Errorf("limit %d: renew after the move: %+v", limit, r)
		}
	}
}

func clusterDeadShard(t *testing.T, cluster *redistest.Cluster) {
	client := cluster.Client(t)
	p := newProcess(t, client)
	nodes := cluster.Nodes()
	dead, alive := cluster.KeyOn(t, nodes[0], "guard:dead"), cluster.KeyOn(t, nodes[1], "guard:alive")
	dead, alive = strings.TrimPrefix(dead, "guard:"), strings.TrimPrefix(alive, "guard:")
	d, a := p.NewOwner(""), p.NewOwner("")
	trial := func() (replies []lease.RenewReply, took time.Duration) {
		p.granted(dead, d)
		p.granted(alive, a)
		nodes[0].Pause()
		defer func() { nodes[0].Resume(); cluster.Await(t) }()
		began := time.Now()
		replies = p.Renew(within(t, 300*time.Millisecond), []lease.RenewRequest{{Key: dead, Owner: d, TTL: ttl}, {Key: alive, Owner: a, TTL: ttl}})
		return replies, time.Since(began)
	}
	var replies []lease.RenewReply
	var took time.Duration
	for range 5 { // a stall of the machine delays the live shard too
		if replies, took = trial(); replies[0].Err == nil {
			t.Fatalf("renewed at a dead shard: %+v", replies)
		}
		if replies[1].Held && took < 1500*time.Millisecond {
			return
		}
	}
	t.Errorf("took %v: %+v", took, replies)
}

func TestReplicaAckOnAClusterWaitsAtTheShardOfTheKey(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	p := newProcess(t, cluster.Client(t), redisstore.ReplicaAck(1, 50*time.Millisecond))
	owner := p.NewOwner("")
	// No master has a replica: nothing is granted, wherever the key lives.
	for _, node := range cluster.Nodes() {
		key := strings.TrimPrefix(cluster.KeyOn(t, node, "guard:k"), "guard:")
		_, err := p.try(key, owner, 0)
		if err == nil || !strings.Contains(err.Error(), "acknowledged by 0 of 1 replicas") {
			t.Errorf("%v", err)
		}
	}
	// A request sent to a node's own client follows the slot as well.
	key := "moved"
	p.client.(*redis.ClusterClient).ReloadState(t.Context())
	cluster.Migrate(t, "guard:"+key, other(t, cluster, "guard:"+key)).Finish(t)
	if _, err := p.try(key, owner, 0); err == nil || !strings.Contains(err.Error(), "acknowledged by 0 of 1") {
		t.Errorf("%v", err)
	}
}
