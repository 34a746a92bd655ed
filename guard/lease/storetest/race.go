package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var raceChecks = []check{
	{"one holder at a time, with rising tokens, under contention", always, func(c *contract) {
		const contenders, rounds = 8, 5 // contenders in each process
		key := c.key("k")
		var inside atomic.Int32
		var last int64 // guarded by the lease under test
		var wg sync.WaitGroup
		for i := range 2 * contenders {
			store := []lease.Store{c.A, c.B}[i%2]
			wg.Go(func() {
				for range rounds {
					n := c.client(store, key)
					reply, err := n.contend(c.ctx)
					if err != nil {
						c.Error(err)
						return
					}
					if now := inside.Add(1); now != 1 {
						c.Errorf("%d holders at once", now)
					}
					if reply.Fence <= last {
						c.Errorf("token %d after %d", reply.Fence, last)
					}
					last = reply.Fence
					time.Sleep(100 * time.Microsecond) // for others to ask
					if replies := store.Renew(c.ctx, []lease.RenewRequest{{Key: key, Owner: n.owner, TTL: long}}); !replies[0].Held {
						c.Errorf("Renew() = %+v while holding", replies[0])
					}
					inside.Add(-1)
					released, err := n.end(c.ctx)
					if err != nil || !worked(released) {
						c.Errorf("Release() = %+v, %v while holding", released, err)
						return
					}
				}
			})
		}
		wg.Wait()
		c.holder(c.A, key, long) // nothing is left behind
	}},

	{"of many that ask at once for a free key one is granted", always, func(c *contract) {
		for round := range 20 {
			key := c.key(fmt.Sprint(round))
			var granted atomic.Int32
			var wg sync.WaitGroup
			start := make(chan struct{})
			for i := range 8 {
				n := c.client([]lease.Store{c.A, c.B}[i%2], key)
				wg.Go(func() {
					<-start
					reply, err := n.store.Acquire(c.ctx, lease.AcquireRequest{Key: key, Owner: n.owner, TTL: long, TokenCount: 1})
					if err != nil {
						c.Error(err)
					}
					if reply.Granted {
						granted.Add(1)
					}
				})
			}
			close(start)
			wg.Wait()
			// Over several servers it may be that none got a majority.
			if got := granted.Load(); got > 1 || got == 0 && !c.NoQueue {
				c.Errorf("granted to %d", got)
			}
		}
	}},
}

var limitRaceChecks = []check{
	{"a limit is never exceeded under contention", with(limit), func(c *contract) {
		c.storm(3)
	}},

	{"readers and exclusive owners never hold together under contention", always, func(c *contract) {
		c.storm(lease.Shared, lease.Exclusive, lease.Shared)
	}},

	{"every limit is kept under contention of all kinds", with(limit), func(c *contract) {
		c.storm(2, lease.Shared, 3, lease.Exclusive, lease.Shared)
	}},

	{"of many that ask at once a limit admits exactly as many", with(limit), func(c *contract) {
		for round := range 20 {
			var granted atomic.Int32
			var wg sync.WaitGroup
			start := make(chan struct{})
			for i := range 8 {
				n := c.limited([]lease.Store{c.A, c.B}[i%2], c.key(fmt.Sprint(round)), 3)
				wg.Go(func() {
					<-start
					reply, err := n.store.Acquire(c.ctx, lease.AcquireRequest{
						Key: n.key, Owner: n.owner, Limit: n.limit, TTL: long, TokenCount: 1,
					})
					if err != nil {
						c.Error(err)
					}
					if reply.Granted {
						granted.Add(1)
					}
				})
			}
			close(start)
			wg.Wait()
			if got := granted.Load(); got != 3 {
				c.Errorf("granted to %d, want 3", got)
			}
		}
	}},
}

// storm has eight goroutines in each process hold one key again and again, with
// the given limits in turn, and checks that all holders fit together.
func (c *contract) storm(limits ...lease.Limit) {
	const contenders, rounds = 8, 5 // contenders in each process
	key := c.key("k")
	var (
		mu     sync.Mutex
		inside = make(map[*client]bool)
		last   int64 // token
	)
	enter := func(n *client, reply lease.AcquireReply) {
		mu.Lock()
		defer mu.Unlock()
		inside[n] = true
		for other := range inside {
			if other.limit != lease.Shared && len(inside) > max(1, int(other.limit)) {
				c.Errorf("%d inside, one of them with limit %d", len(inside), other.limit)
			}
		}
		switch {
		case n.limit != lease.Exclusive && reply.TokenCount != 0:
			c.Errorf("%d tokens for limit %d", reply.TokenCount, n.limit)
		case n.limit == lease.Exclusive && reply.Fence <= last:
			c.Errorf("token %d after %d", reply.Fence, last)
		}
		last = max(last, reply.Fence)
	}
	leave := func(n *client) {
		mu.Lock()
		defer mu.Unlock()
		delete(inside, n)
	}
	var wg sync.WaitGroup
	for i := range 2 * contenders {
		store := []lease.Store{c.A, c.B}[i%2]
		wg.Go(func() {
			for round := range rounds {
				n := c.limited(store, key, limits[(i+round)%len(limits)])
				reply, err := n.contend(c.ctx)
				if err != nil {
					c.Error(err)
					return
				}
				enter(n, reply)
				time.Sleep(100 * time.Microsecond) // for others to ask
				if replies := store.Renew(c.ctx, []lease.RenewRequest{n.renewal(long)}); !replies[0].Held {
					c.Errorf("Renew() = %+v while holding", replies[0])
				}
				leave(n)
				released, err := n.end(c.ctx)
				if err != nil || !worked(released) {
					c.Errorf("Release() = %+v, %v while holding", released, err)
					return
				}
			}
		})
	}
	wg.Wait()
	c.holder(c.A, key, long) // nothing is left behind
}

// contend asks, waits, and asks again until granted, woken or by polling: rarely, if wake-ups
// can come, or the polls alone are more than a busy machine can do for several servers.
func (n *client) contend(ctx context.Context) (lease.AcquireReply, error) {
	woken, stop := n.watch()
	defer stop()
	poll := 20 * time.Millisecond
	if _, ok := n.store.(lease.Watcher); ok {
		poll = 100 * time.Millisecond
	}
	for {
		reply, err := n.attempt(ctx)
		if err != nil || reply.Granted {
			return reply, err
		}
		n.ticket = reply.Ticket
		select {
		case <-woken:
		case <-time.After(poll + rand.N(2*poll)): // those in step with each other split the votes of servers
		}
	}
}

// attempt asks once, and notes until when a request of it may still take effect.
func (n *client) attempt(ctx context.Context) (lease.AcquireReply, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reply, err := n.store.Acquire(ctx, lease.AcquireRequest{
		Key: n.key, Owner: n.owner, Limit: n.limit, TTL: long, Join: true, Ticket: n.ticket, Place: lease.Place{Reservation: n.reservation}, TokenCount: 1,
	})
	if reply.Unanswered.After(n.unanswered) {
		n.unanswered = reply.Unanswered
	}
	return reply, err
}

// end releases what contend was granted, and once more when none of its requests can take
// effect any more: one that was sent again may have been granted after the first release.
func (n *client) end(ctx context.Context) (lease.ReleaseReply, error) {
	request := lease.ReleaseRequest{Key: n.key, Owner: n.owner, Limit: n.limit, Place: lease.Place{Reservation: n.reservation}}
	reply, err := n.store.Release(ctx, request)
	if err != nil || n.unanswered.IsZero() {
		return reply, err
	}
	time.Sleep(time.Until(n.unanswered) + rounding)
	_, err = n.store.Release(ctx, request)
	return reply, err
}
