package redisstore

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/internal/layout"
)

// The Cluster client follows redirections and learns from them which node serves a slot.
// What follows is for what is sent to a node's own client, and for what the Cluster client
// learns nothing from.

// redirection reports whether another node should be asked.
func redirection(err error) bool {
	return err != nil && (redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "ASK"))
}

// askedAt returns the address that ASK names; "" if err is none.
func askedAt(err error) string {
	if err == nil || !redis.HasErrorPrefix(err, "ASK") {
		return ""
	}
	words := strings.Fields(err.Error()) // ASK slot host:port
	if len(words) != 3 || strings.HasPrefix(words[2], ":") || strings.HasPrefix(words[2], "?") {
		return ""
	}
	return words[2]
}

// follow repeats commands that were redirected, which were sent to a node's own client.
func (r *router) follow(ctx context.Context, ops []*op) {
	const tries, pause = 10, 50 * time.Millisecond
	for range tries {
		var moved []*op
		asked := make(map[string][]*op)
		for _, o := range ops {
			if addr := askedAt(o.outcome()); addr != "" {
				asked[addr] = append(asked[addr], o)
			} else if o.outcome() != nil && redis.HasErrorPrefix(o.outcome(), "MOVED") {
				moved = append(moved, o)
			}
		}
		if len(asked) == 0 && len(moved) == 0 {
			return
		}
		for addr, group := range asked {
			r.repeat(group, func(twins []*op) { r.ask(ctx, addr, twins) })
		}
		if moved == nil {
			continue
		}
		r.cluster.ReloadState(ctx) // starts the reload, and returns
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		r.repeat(moved, func(twins []*op) { r.once(ctx, true, twins) })
	}
}

// repeat gives ops, which have their outcome, that of twins which send sends.
func (r *router) repeat(ops []*op, send func(twins []*op)) {
	twins := make([]*op, len(ops))
	for i, o := range ops {
		twins[i] = o.twin()
	}
	send(twins)
	for i, o := range ops {
		o.become(twins[i])
	}
}

// ask sends ops to the node at addr, which is about to get their slot.
func (r *router) ask(ctx context.Context, addr string, ops []*op) {
	id := routeID{addr: addr, acked: true, asking: true}
	b := r.batcherFor(id, func() *batcher {
		b := new(batcher)
		b.link.extra = r.options.ackTimeout
		b.send = func(ctx context.Context, ops []*op) {
			like, err := r.cluster.MasterForKey(ctx, ops[0].key)
			if err != nil {
				failAll(ops, err)
				return
			}
			r.spares.at(addr).send(ctx, like, func(client redis.UniversalClient) sender {
				return sendAcked(client, r.options.replicas, r.options.ackTimeout, true)
			}, ops)
		}
		return b
	})
	b.submit(ctx, ops...)
	for _, o := range ops {
		b.wait(ctx, o)
	}
}

// reloadAfter has the Cluster's layout loaded again if ops show that it may be outdated.
func (r *router) reloadAfter(ctx context.Context, ops []*op) {
	for _, o := range ops {
		if layout.Outdated(o.outcome()) {
			r.cluster.ReloadState(ctx) // starts the reload, and returns; at most five a second
			return
		}
	}
}

// sendAgain sends ops over connections of the Store's own, each to the node that serves
// its key by now. It returns when all have been answered or failed.
func (r *router) sendAgain(ctx context.Context, to func(redis.UniversalClient) sender, ops []*op) {
	groups := make(map[*redis.Client][]*op)
	for _, o := range ops {
		node, err := r.node(ctx, o.key)
		if client, ok := node.(*redis.Client); ok && err == nil {
			groups[client] = append(groups[client], o)
		} else {
			o.SetErr(err)
		}
	}
	var all sync.WaitGroup
	for node, group := range groups {
		all.Go(func() { r.spares.at(node.Options().Addr).send(ctx, node, to, group) })
	}
	all.Wait()
	for _, o := range ops {
		if r.cluster != nil && redirection(o.Err()) {
			r.cluster.ReloadState(ctx) // for the next time that they are sent
			return
		}
	}
}
