package redisstore

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

// router finds the batcher of a key. Only commands to the same node share a flight:
// on a Cluster a dead shard must not delay the renewals of the others.
type router struct {
	client  redis.UniversalClient
	cluster *redis.ClusterClient // nil on a single node
	inline  bool                 // the client always obeys a context's deadline
	reuse   bool                 // no hook of the program can keep a command
	options options

	// shardsKnown is set when the Cluster's layout was loaded. From then on the
	// client finds a key's node without I/O.
	shardsKnown atomic.Bool
	contact     firstContact
	spares      spares

	mu   sync.RWMutex
	byID map[routeID]*batcher
}

type routeID struct {
	addr   string // "": the single node, or the load of a Cluster's layout
	acked  bool
	asking bool // for commands that another node redirected with ASK
}

func newRouter(client redis.UniversalClient, inline, hookless bool, c options) *router {
	cluster, _ := client.(*redis.ClusterClient)
	return &router{
		client:  client,
		cluster: cluster,
		inline:  inline,
		reuse:   hookless,
		options: c,
		byID:    make(map[routeID]*batcher),
	}
}

// do sends commands and returns when each has its outcome, or ctx ends. With acked,
// they wait for the acknowledgement of replicas.
func (r *router) do(ctx context.Context, acked bool, ops ...*op) {
	err := ctx.Err()
	if err == nil && r.cluster != nil && !r.shardsKnown.Load() {
		err = r.discover(ctx)
	}
	if err != nil {
		for _, o := range ops {
			o.unanswered = err
		}
		return
	}
	r.once(ctx, acked, ops)
	if r.cluster != nil {
		if acked {
			r.follow(ctx, ops)
		}
		r.reloadAfter(ctx, ops)
	}
	r.contact.note(ops)
}

func (r *router) once(ctx context.Context, acked bool, ops []*op) {
	if len(ops) == 1 {
		b := r.to(ctx, ops[0].key, acked)
		var taken, done bool
		if attempt, ok := ctx.(*lease.Attempt); ok && attempt.Cancelled() == nil && r.inline && !acked {
			taken, done = b.sendHere(attempt, ops[0])
		}
		if !taken {
			b.submit(ctx, ops[0])
		}
		if !done {
			b.wait(ctx, ops[0])
		}
		return
	}
	groups := make(map[*batcher][]*op)
	for _, o := range ops {
		b := r.to(ctx, o.key, acked)
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

// discover loads the layout of the Cluster through a batcher, so that it returns
// when ctx ends, although the client may take longer.
func (r *router) discover(ctx context.Context) error {
	asked := newOp("")
	b := r.batcherFor(routeID{}, func() *batcher { return &batcher{send: r.load} })
	b.submit(ctx, asked)
	b.wait(ctx, asked)
	return asked.outcome()
}

func (r *router) load(ctx context.Context, asked []*op) {
	_, err := r.cluster.MasterForKey(ctx, "")
	if err == nil {
		r.shardsKnown.Store(true)
	}
	for _, o := range asked {
		o.SetErr(err)
	}
}

// to returns the batcher for key.
func (r *router) to(ctx context.Context, key string, acked bool) *batcher {
	id := routeID{acked: acked}
	if r.cluster != nil {
		if master, err := r.cluster.MasterForKey(ctx, key); err == nil {
			id.addr = master.Options().Addr
		} else { // no node serves the slot: the command will fail with the reason
			id.addr = "?"
		}
	}
	return r.batcherFor(id, func() *batcher { return r.newBatcher(id) })
}

// newBatcher returns the batcher for one node.
func (r *router) newBatcher(id routeID) *batcher {
	to := func(own redis.UniversalClient) sender { return sendTo(own, true) }
	b := &batcher{send: sendTo(r.client, r.reuse), reuse: r.reuse}
	b.later.most = laterMost
	if id.acked {
		b.link.extra = r.options.ackTimeout
		to = func(client redis.UniversalClient) sender {
			return sendAcked(client, r.options.replicas, r.options.ackTimeout, false)
		}
		b.send = func(ctx context.Context, ops []*op) {
			client, err := r.node(ctx, ops[0].key)
			if err != nil {
				failAll(ops, err)
				return
			}
			to(client)(ctx, ops)
		}
	}
	if _, single := r.client.(*redis.Client); single || r.cluster != nil {
		b.fresh = func(ctx context.Context, ops []*op) { r.sendAgain(ctx, to, ops) }
		b.node = func(key string) *redis.Client { return r.nodeAt(id.addr, key) }
	}
	return b
}

func failAll(ops []*op, err error) {
	for _, o := range ops {
		o.SetErr(err)
	}
}

// node returns a client of the node that serves key. It is asked for each flight, since
// clients of nodes that left a Cluster are closed and their addresses may return.
func (r *router) node(ctx context.Context, key string) (redis.UniversalClient, error) {
	if r.cluster == nil {
		return r.client, nil
	}
	master, err := r.cluster.MasterForKey(ctx, key)
	if err != nil {
		return nil, err
	}
	return master, nil
}

// nodeAt is node, if that is still the one at addr; else nil.
func (r *router) nodeAt(addr, key string) *redis.Client {
	node, err := r.node(context.Background(), key)
	client, ok := node.(*redis.Client)
	if err != nil || !ok || r.cluster != nil && client.Options().Addr != addr {
		return nil
	}
	return client
}

func (r *router) batcherFor(id routeID, create func() *batcher) *batcher {
	r.mu.RLock()
	b := r.byID[id]
	r.mu.RUnlock()
	if b != nil {
		return b
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b = r.byID[id]
	if b == nil {
		b = create()
		r.byID[id] = b
	}
	return b
}
