package redisstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

// lanes finds the batcher for a key. Commands share a pipeline only if they go
// to the same node: in a Cluster a dead shard must not hold up the renewals of
// the others.
type router struct {
	client  redis.UniversalClient
	cluster *redis.ClusterClient // nil on a single node
	inline  bool                 // the client keeps to deadlines, come what may
	config  config

	// shardsKnown is set once the Cluster's layout was loaded. From then on
	// asking the client for a key's node does no I/O.
	shardsKnown atomic.Bool

	mu   sync.RWMutex
	byID map[routeID]*batcher // as many as there are nodes
}

type routeID struct {
	addr  string // "": the single node, or a Cluster's before its layout is known
	acked bool
}

func newRouter(client redis.UniversalClient, inline bool, c config) *router {
	cluster, _ := client.(*redis.ClusterClient)
	return &router{
		client:  client,
		cluster: cluster,
		inline:  inline,
		config:  c,
		byID:    make(map[routeID]*batcher),
	}
}

// do sends commands and returns when each is answered, or ctx ends. Their
// outcomes are in them. With acked, they wait for replicas.
func (l *router) do(ctx context.Context, acked bool, ops ...*op) {
	err := ctx.Err()
	if err == nil && l.cluster != nil && !l.shardsKnown.Load() {
		err = l.discover(ctx)
	}
	if err != nil {
		for _, o := range ops {
			o.unanswered = err
		}
		return
	}
	l.once(ctx, acked, ops)
	if acked && l.cluster != nil {
		l.follow(ctx, ops)
	}
}

func (l *router) once(ctx context.Context, acked bool, ops []*op) {
	if len(ops) == 1 {
		b := l.to(ctx, ops[0].key, acked)
		if attempt, ok := ctx.(*lease.Attempt); ok && l.inline && !acked && b.sendHere(attempt, ops) {
			return
		}
		b.submit(ctx, ops[0])
		b.wait(ctx, ops[0])
		return
	}
	groups := make(map[*batcher][]*op)
	for _, o := range ops {
		b := l.to(ctx, o.key, acked)
		groups[b] = append(groups[b], o)
	}
	for b, group := range groups {
		b.submit(ctx, group...)
	}
	for b, group := range groups {
		for _, o := range group {
			b.wait(ctx, o)
		}
	}
}

// follow sends commands again that another node than expected serves. Only
// those that went to a chosen node need it; the Cluster client follows by itself.
func (l *router) follow(ctx context.Context, ops []*op) {
	const tries, pause = 10, 50 * time.Millisecond
	for range tries {
		var moved []*op
		for _, o := range ops {
			if redis.HasErrorPrefix(o.outcome(), "MOVED") {
				moved = append(moved, o)
			}
		}
		if moved == nil {
			return
		}
		l.cluster.ReloadState(ctx) // starts it, and returns
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		for _, o := range moved {
			o.again()
		}
		l.once(ctx, true, moved)
	}
}

// discover has the layout of the Cluster loaded. The client may be slow to see
// that ctx ended, so it is asked where a command would be sent, and the caller
// waits as for a command.
func (l *router) discover(ctx context.Context) error {
	asked := newOp("")
	b := l.batcherFor(routeID{}, func() sender { return l.load })
	b.submit(ctx, asked)
	b.wait(ctx, asked)
	return asked.outcome()
}

func (l *router) load(ctx context.Context, asked []*op) {
	_, err := l.cluster.MasterForKey(ctx, "")
	if err == nil {
		l.shardsKnown.Store(true)
	}
	for _, o := range asked {
		o.SetErr(err)
	}
}

// to returns the batcher for key.
func (l *router) to(ctx context.Context, key string, acked bool) *batcher {
	id := routeID{acked: acked}
	if l.cluster != nil {
		if master, err := l.cluster.MasterForKey(ctx, key); err == nil {
			id.addr = master.Options().Addr
		} else { // nobody serves the slot: sending it says so
			id.addr = "?"
		}
	}
	return l.batcherFor(id, func() sender {
		if acked {
			return sendAcked(l.node, l.config.replicas, l.config.ackTimeout)
		}
		return sendTo(l.client)
	})
}

// node returns a client for the one node that serves key.
func (l *router) node(ctx context.Context, key string) (redis.UniversalClient, error) {
	if l.cluster == nil {
		return l.client, nil
	}
	master, err := l.cluster.MasterForKey(ctx, key)
	if err != nil {
		return nil, err
	}
	return master, nil
}

func (l *router) batcherFor(id routeID, send func() sender) *batcher {
	l.mu.RLock()
	b := l.byID[id]
	l.mu.RUnlock()
	if b != nil {
		return b
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b = l.byID[id]
	if b == nil {
		b = &batcher{send: send()}
		l.byID[id] = b
	}
	return b
}
