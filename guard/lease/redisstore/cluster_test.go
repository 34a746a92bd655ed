package redisstore_test

import (
	"errors"
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
		{"a release while the slot moves frees the key", clusterMoving},
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

func clusterMoving(t *testing.T, cluster *redistest.Cluster) {
	p := newProcess(t, cluster.Client(t))
	const key = "moving"
	owner, waiter := p.NewOwner(""), p.NewOwner("")
	p.granted(key, owner)
	p.refused(key, waiter, 0)
	move := cluster.Migrate(t, "guard:"+key, other(t, cluster, "guard:"+key))
	move.MoveKeys(t, "guard:"+key) // the lease has moved, the queue has not
	_, err := p.try(key, p.NewOwner(""), 0)
	if err == nil || errors.Is(err, lease.ErrRefused) || !strings.Contains(err.Error(), "TRYAGAIN") {
		t.Errorf("acquire: %v", err)
	}
	if r := p.renew(key, owner); !r.Held || r.Err != nil {
		t.Errorf("renew: %+v", r)
	}
	if !p.release(key, owner) {
		t.Error("not released")
	}
	move.Finish(t)
	if n := p.client.Exists(t.Context(), "guard:"+key).Val(); n != 0 {
		t.Error("the key is not free")
	}
	p.granted(key, waiter)
	p.release(key, waiter)
}

func clusterDeadShard(t *testing.T, cluster *redistest.Cluster) {
	client := cluster.Client(t)
	p := newProcess(t, client)
	nodes := cluster.Nodes()
	dead, alive := cluster.KeyOn(t, nodes[0], "guard:dead"), cluster.KeyOn(t, nodes[1], "guard:alive")
	dead, alive = strings.TrimPrefix(dead, "guard:"), strings.TrimPrefix(alive, "guard:")
	d, a := p.NewOwner(""), p.NewOwner("")
	p.granted(dead, d)
	p.granted(alive, a)
	nodes[0].Pause()
	defer func() { nodes[0].Resume(); cluster.Await(t) }()
	began := time.Now()
	replies := p.Renew(within(t, 300*time.Millisecond), []lease.RenewRequest{{Key: dead, Owner: d, TTL: ttl}, {Key: alive, Owner: a, TTL: ttl}})
	if replies[0].Err == nil || !replies[1].Held {
		t.Errorf("%+v", replies)
	}
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

func TestReplicaAckOnAClusterWaitsAtTheShardOfTheKey(t *testing.T) {
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
