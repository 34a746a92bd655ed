package redisstore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// firstShard returns a key, without the prefix, that the first shard serves, whichever
// node is its master.
func firstShard(t *testing.T, cluster *redistest.Cluster, name string) string {
	for i := 0; ; i++ {
		if key := fmt.Sprint(name, i); cluster.Slot(t, "guard:"+key) < 5000 {
			return key
		}
	}
}

func isMaster(t *testing.T, node *redistest.Server) bool {
	client := node.Client(t)
	return strings.Contains(client.Info(t.Context(), "replication").Val(), "role:master") &&
		strings.Contains(client.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
}

// By itself go-redis would ask the dead master for up to a minute.
func TestRenewalsFollowAFailoverOfTheirShard(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	dying := cluster.Nodes()[0]
	replica := cluster.StartReplica(t, dying)
	p := newProcess(t, cluster.Client(t))
	key := firstShard(t, cluster, "k")
	owner := p.NewOwner("")
	renew := func() lease.RenewReply {
		return p.Renew(within(t, 500*time.Millisecond), []lease.RenewRequest{{Key: key, Owner: owner, TTL: time.Minute}})[0]
	}
	p.granted(key, owner)
	eventually(t, "a renewal, for longer than the test takes", func() bool { return renew().Held })
	at := replica.Client(t, func(o *redis.Options) {
		o.OnConnect = func(ctx context.Context, conn *redis.Conn) error { return conn.ReadOnly(ctx).Err() }
	})
	eventually(t, "the lease at the replica", func() bool { return at.PTTL(t.Context(), "guard:"+key).Val() > 30*time.Second })
	dying.Kill()
	eventually(t, "the failover", func() bool { renew(); return isMaster(t, replica) })
	eventually(t, "a renewal at the new master", func() bool { return renew().Held })
}

// A master that is demoted answers READONLY to such a client, not MOVED.
func TestRenewalsOfAReadOnlyClientFollowAFailover(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]redisstore.Option{"plain": nil, "ReplicaAck": {redisstore.ReplicaAck(1, 5*time.Second)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t)
			replica := cluster.StartReplica(t, cluster.Nodes()[0])
			p := newProcess(t, cluster.Client(t, func(o *redis.ClusterOptions) { o.ReadOnly = true }), opts...)
			owner := p.NewOwner("")
			var all []lease.RenewRequest
			for i := range 2 { // more than one go in a pipeline
				key := firstShard(t, cluster, fmt.Sprint("k", i, "-"))
				p.granted(key, owner)
				all = append(all, lease.RenewRequest{Key: key, Owner: owner, TTL: time.Minute})
			}
			must(t, replica.Client(t).Do(t.Context(), "cluster", "failover").Err())
			eventually(t, "the failover", func() bool { return isMaster(t, replica) })
			eventually(t, "renewals at the new master", func() bool {
				replies := p.Renew(within(t, 2*time.Second), all)
				return replies[0].Held && replies[1].Held
			})
		})
	}
}

// While a slot moves a request for a free key is sent on with ASK, after the commands beside
// it were executed.
func TestFirstTryThatIsRedirectedMintsItsTokenAnew(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	const key = "k"
	to := other(t, cluster, "guard:"+key)
	proxy := redistest.NewProxy(t, to.Addr())
	slow := newProcess(t, cluster.Client(t, func(o *redis.ClusterOptions) {
		o.Dialer = redistest.DialVia(proxy)
		o.MinRetryBackoff, o.MaxRetryBackoff = -1, -1
	}))
	redisstore.AlwaysTryFirst(slow.Store)
	quick := newProcess(t, cluster.Client(t))
	run := func(p *process) (token int64) {
		owner := p.NewOwner("")
		defer p.release(key, owner)
		return p.granted(key, owner).Fence
	}
	run(slow) // makes the slot's counter
	defer cluster.Migrate(t, "guard:"+key, to).Finish(t)
	redirected := 0
	for range 10 {
		run(quick)
		run(slow)
		trap := proxy.HoldNextRequest("set", "guard:"+key, "nx")
		late := make(chan int64, 1)
		go func() {
			var token int64
			defer func() { late <- token }() // also if run fails the test, which ends the goroutine
			token = run(slow)
		}()
		select {
		case <-trap.Sprung():
		case <-late: // it was no first try
			trap.Release()
			continue
		}
		redirected++
		first := run(quick)
		trap.Release()
		if second := received(t, late); second <= first {
			t.Errorf("token %d after %d", second, first)
		}
	}
	if redirected == 0 {
		t.Error("no first try was redirected")
	}
}

func TestReplicaAckFollowsASlotThatMoves(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	const key = "k"
	to := other(t, cluster, "guard:"+key)
	cluster.StartReplica(t, cluster.Master(t, "guard:"+key))
	cluster.StartReplica(t, to)
	p := newProcess(t, cluster.Client(t), redisstore.ReplicaAck(1, 5*time.Second))
	owner := p.NewOwner("")
	p.granted(key, owner)
	move := cluster.Migrate(t, "guard:"+key, to)
	move.MoveKeys(t, "guard:"+key)
	for range 2 {
		if r := p.renew(key, owner); !r.Held || r.Err != nil {
			t.Errorf("a lease that has moved: %+v", r)
		}
	}
	if !p.release(key, owner) {
		t.Error("not released")
	}
	next := p.NewOwner("")
	p.granted(key, next) // where it will be, since it is free
	if n := to.Client(t).Exists(t.Context(), "guard:"+key).Val(); n != 0 {
		t.Error("a plain EXISTS is answered: the slot does not move any more")
	}
	move.Finish(t)
	if r := p.renew(key, next); !r.Held || r.Err != nil {
		t.Errorf("after the move: %+v", r)
	}
}

// The connections were dropped without a word, and the slot moved meanwhile.
func TestCallsAreSentAgainToTheNodeThatHasTheSlotNow(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	const key = "k"
	proxy := redistest.NewProxy(t, cluster.Master(t, "guard:"+key).Addr())
	p := newProcess(t, cluster.Client(t, func(o *redis.ClusterOptions) { o.Dialer = redistest.DialVia(proxy) }))
	owner := p.NewOwner("")
	p.granted(key, owner)
	for range 5 { // the round trip is known by then
		p.renew(key, owner)
	}
	cluster.Migrate(t, "guard:"+key, other(t, cluster, "guard:"+key)).Finish(t)
	proxy.Forget()
	r := p.Renew(within(t, 4*time.Second), []lease.RenewRequest{{Key: key, Owner: owner, TTL: ttl}})[0]
	if !r.Held || r.Err != nil {
		t.Errorf("%+v", r)
	}
}
