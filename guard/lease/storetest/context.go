package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// soon is how long after its context's end a call may return, on a machine
// that is busy with other tests.
const soon = 2 * time.Second

var contextChecks = []check{
	{"an Acquire whose context is over has no effect", always, func(c *contract) {
		for _, end := range overContexts() {
			n := c.client(c.A, c.key(end.name))
			reply, err := n.store.Acquire(end.ctx, lease.AcquireRequest{
				Key: n.key, Owner: n.owner, TTL: long, Join: true, Place: lease.Place{Reservation: long}, TokenCount: 1,
			})
			if !isContextError(err) || reply.Granted {
				c.Errorf("%s: Acquire() = %+v, %v; want a context error", end.name, reply, err)
			}
			c.holder(c.B, n.key, long)

			held := c.holder(c.A, c.key(end.name+" held"), long)
			n.key = held.key
			_, err = n.store.Acquire(end.ctx, lease.AcquireRequest{
				Key: n.key, Owner: n.owner, TTL: long, Join: true, Place: lease.Place{Reservation: long}, TokenCount: 1,
			})
			if !isContextError(err) {
				c.Errorf("%s: Acquire() of a held key = %v, want a context error", end.name, err)
			}
			held.mustRelease()
			c.holder(c.B, held.key, long) // the queue is empty
		}
	}},

	{"a Renew whose context is over says nothing about the lease", always, func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		request := lease.RenewRequest{Key: h.key, Owner: h.owner, TTL: long}
		for _, end := range overContexts() {
			replies := h.store.Renew(end.ctx, []lease.RenewRequest{request, request})
			if len(replies) != 2 {
				c.Fatalf("%s: %d replies, want 2", end.name, len(replies))
			}
			for _, reply := range replies {
				if reply.Err == nil {
					c.Errorf("%s: Renew() = %+v, want an error", end.name, reply)
				}
			}
		}
	}},

	{"a Release whose context is over returns its error", always, func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		for _, end := range overContexts() {
			_, err := h.store.Release(end.ctx, lease.ReleaseRequest{Key: h.key, Owner: h.owner, Place: lease.Place{Reservation: h.reservation}})
			if !isContextError(err) {
				c.Errorf("%s: Release() = %v, want a context error", end.name, err)
			}
		}
	}},

	{"every call returns soon after its context ends", with(stall), func(c *contract) {
		h, n := c.holder(c.A, c.key("k"), long), c.client(c.A, c.key("other"))
		calls := map[string]func(ctx context.Context) error{
			"Acquire": func(ctx context.Context) error {
				_, err := n.store.Acquire(ctx, lease.AcquireRequest{Key: n.key, Owner: n.owner, TTL: long, TokenCount: 1})
				return err
			},
			"Renew": func(ctx context.Context) error {
				return h.store.Renew(ctx, []lease.RenewRequest{{Key: h.key, Owner: h.owner, TTL: long}})[0].Err
			},
			"Release": func(ctx context.Context) error {
				_, err := h.store.Release(ctx, lease.ReleaseRequest{Key: h.key, Owner: h.owner, Place: lease.Place{Reservation: h.reservation}})
				return err
			},
		}
		const timeout = 200 * time.Millisecond
		over := time.Now().Add(timeout + 2*soon) // at the earliest
		c.Stall(timeout + 2*soon)
		var wg sync.WaitGroup
		for name, call := range calls {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(c.ctx, timeout)
				defer cancel()
				c.returnsSoon(ctx, timeout, over, name+" past its deadline", call)
			})
			if name == "Acquire" {
				continue // never called twice at once for one owner
			}
			wg.Go(func() {
				ctx, cancel := context.WithCancel(c.ctx)
				defer cancel()
				time.AfterFunc(timeout, cancel)
				c.returnsSoon(ctx, timeout, over, name+" cancelled", call)
			})
		}
		wg.Wait()
	}},

	{"an Acquire that reaches the server after its deadline has no effect", with(stall), func(c *contract) {
		c.holder(c.A, c.key("other"), long) // a store may learn the server's time from replies
		lates := []*client{c.client(c.A, c.key("exclusive")), c.reader(c.A, c.key("reader"))}
		const stall = time.Second
		ttl := long
		if c.Buried {
			ttl = 2 * stall
		}
		// From before the stall, so that it ends within it, however late the goroutines run.
		ctx, cancel := context.WithTimeout(c.ctx, stall/4)
		defer cancel()
		c.Stall(stall)
		var wg sync.WaitGroup
		for _, late := range lates {
			wg.Go(func() {
				_, err := late.store.Acquire(ctx, lease.AcquireRequest{
					Key: late.key, Owner: late.owner, Limit: late.limit, TTL: ttl, Join: true, Place: lease.Place{Reservation: long}, TokenCount: 1,
				})
				if err == nil {
					c.Error("Acquire was answered by a stalled server")
				}
			})
		}
		wg.Wait()
		time.Sleep(stall + c.short) // the requests have been served by now

		for _, late := range lates {
			next := c.client(c.B, late.key)
			if c.Buried {
				c.within(ttl, "the lease of a request that came late ends", func() bool { return next.ask(long).Granted })
			}
			next.mustHold(long)
			next.mustRelease()
			c.holder(c.A, late.key, long) // nor is it in the queue
		}
	}},
}

// returnsSoon wants an error from call, no later than soon after ctx, which
// began now, ends after timeout. The servers' stall lasts until over.
func (c *contract) returnsSoon(ctx context.Context, timeout time.Duration, over time.Time, name string, call func(context.Context) error) {
	began := time.Now()
	if err := call(ctx); err == nil && time.Now().Before(over) {
		c.Errorf("%s: answered by a stalled server", name)
	}
	if late := time.Since(began) - timeout; late > soon {
		c.Errorf("%s: returned %v after its context ended", name, late)
	}
}

type overContext struct {
	name string
	ctx  context.Context
}

// overContexts have ended in each of the ways in which a context can.
func overContexts() []overContext {
	cancelled, cancel := context.WithTimeout(context.Background(), long)
	cancel()
	expired, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	cancel()
	return []overContext{{"cancelled", cancelled}, {"expired", expired}}
}
