package storetest

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// The order of grants in a queue of exclusive owners and others.
var queueLimitChecks = []check{
	{"a reader does not overtake an exclusive owner that waits", with(queue), func(c *contract) {
		r1, w, r2 := c.reader(c.A, c.key("k")), c.client(c.B, c.key("k")), c.reader(c.A, c.key("k"))
		r1.mustHold(long)
		w.mustWait()
		r2.mustWait()
		c.reader(c.B, r1.key).mustBeRefused(r1) // nor one that does not join
		r1.mustHold(long)                       // a holder may ask again
		c.mustNotBeHolders(r2)
		r1.mustRelease()
		r2.mustBeRefusedBy(w)
		w.mustHold(long)
		c.mustNotBeHolders(r2)
		w.mustRelease()
		c.mustBeHolders(r2)
		r2.mustHold(long)
	}},

	{"two readers, an exclusive owner and two readers in the queue are granted as two, one, two", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		r1, r2 := c.reader(c.A, h.key), c.reader(c.B, h.key)
		w := c.client(c.A, h.key)
		r3, r4 := c.reader(c.B, h.key), c.reader(c.A, h.key)
		var last int64
		for i, n := range []*client{r1, r2, w, r3, r4} {
			reply := n.mustWait()
			if reply.Ticket <= last || reply.Head != (i == 0) || reply.Holder != h.owner {
				c.Errorf("number %d in the queue got %+v after ticket %d, held by %q", i+1, reply, last, h.owner)
			}
			last = reply.Ticket
		}

		h.mustRelease()
		c.mustBeHolders(r1, r2)
		c.mustNotBeHolders(w, r3, r4)
		if !w.mustWait().Head {
			c.Error("the exclusive owner is not the head now")
		}
		r4.mustWait()
		r3.mustWait()
		r2.mustHold(long)
		r2.mustRelease()
		c.mustNotBeHolders(w, r3, r4)
		r1.mustRelease() // it never asked again

		r3.mustBeRefusedBy(w)
		w.mustHold(long)
		c.mustNotBeHolders(r3, r4)
		w.mustRelease()

		c.mustBeHolders(r3, r4)
		c.client(c.B, h.key).mustBeRefused(r3, r4)
		r3.mustRelease()
		r4.mustRelease()
		c.holder(c.A, h.key, long) // no waiter is left
	}},

	{"a stream of readers does not starve an exclusive owner", with(queue), func(c *contract) {
		key := c.key("k")
		stores := []lease.Store{c.A, c.B}
		var before, after []*client
		for i := range 4 {
			r := c.reader(stores[i%2], key)
			r.mustHold(long)
			before = append(before, r)
		}
		w := c.client(c.A, key)
		w.mustWait()
		for i, r := range before { // as one leaves, another comes
			next := c.reader(stores[i%2], key)
			next.mustWait()
			after = append(after, next)
			r.mustRelease()
			if i < len(before)-1 {
				c.mustNotBeHolders(append(after, w)...)
			}
		}
		w.mustHold(long)
		c.mustNotBeHolders(after...)
		w.mustRelease()
		c.mustBeHolders(after...)
	}},

	{"readers that wait are granted when the exclusive owner before them leaves the queue", with(queue), func(c *contract) {
		r1, w := c.reader(c.A, c.key("k")), c.client(c.B, c.key("k"))
		r2, r3 := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k"))
		r1.mustHold(long)
		w.mustWait()
		r2.mustWait()
		r3.mustWait()
		c.mustNotBeHolders(r2, r3)
		w.leave()
		c.mustBeHolders(r1, r2, r3)
		c.client(c.A, r1.key).mustBeRefused(r1, r2, r3)
	}},

	{"a waiter that leaves the middle of the queue causes no grant", with(queue), func(c *contract) {
		r1, w := c.reader(c.A, c.key("k")), c.client(c.B, c.key("k"))
		r2, r3 := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k"))
		r1.mustHold(long)
		w.mustWait()
		r2.mustWait()
		r3.mustWait()
		r2.leave()
		r2.leave() // harmless
		c.mustNotBeHolders(w, r2, r3)
		if !w.mustWait().Head {
			c.Error("the exclusive owner is no longer the head")
		}
		r1.mustRelease()
		w.mustHold(long)
		w.mustRelease()
		c.mustBeHolders(r3)
		c.mustNotBeHolders(r2)
	}},

	{"permits are granted one by one, in the order of arrival", with(queue, limit), func(c *contract) {
		limited := func(i int) *client { return c.limited([]lease.Store{c.A, c.B}[i%2], c.key("k"), 2) }
		holders := []*client{limited(0), limited(1)}
		var queue []*client
		for _, h := range holders {
			h.mustHold(long)
		}
		for i := range 5 {
			w := limited(i)
			w.mustWait()
			queue = append(queue, w)
		}
		for len(queue) > 0 {
			next, rest := queue[0], queue[1:]
			holders[0].mustRelease()
			for _, later := range rest {
				if later.join(long).Granted {
					c.Fatal("granted out of order")
				}
			}
			c.mustBeHolders(holders[1], next)
			next.mustHold(long)
			c.mustNotBeHolders(rest...)
			holders, queue = []*client{holders[1], next}, rest
		}
		holders[0].mustRelease()
		holders[1].mustRelease()
		c.holder(c.A, c.key("k"), long)
	}},

	{"handing on stops at the first waiter that does not fit", with(queue, limit), func(c *contract) {
		h1, h2 := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		h1.mustHold(long)
		h2.mustHold(long)
		one, two, r := c.limited(c.A, c.key("k"), 1), c.limited(c.B, c.key("k"), 2), c.reader(c.A, c.key("k"))
		one.mustWait()
		two.mustWait()
		r.mustWait()
		h1.mustRelease() // two and r fit, but one is before them
		c.mustNotBeHolders(one, two, r)
		r.mustWait()
		two.mustBeRefused(h2)
		h2.mustRelease()
		c.mustBeHolders(one)
		c.mustNotBeHolders(two, r)
		one.mustRelease()
		c.mustBeHolders(two, r)
	}},

	{"an exclusive owner waits behind waiters for a permit, and they behind it", with(queue, limit), func(c *contract) {
		h := c.limited(c.A, c.key("k"), 1)
		h.mustHold(long)
		l1, w, l2 := c.limited(c.B, c.key("k"), 2), c.client(c.A, c.key("k")), c.limited(c.B, c.key("k"), 2)
		l1.mustWait()
		w.mustWait()
		l2.mustWait()
		h.mustRelease()
		c.mustBeHolders(l1)
		c.mustNotBeHolders(w, l2) // though l2 fits
		l1.mustRelease()
		l2.mustBeRefusedBy(w)
		w.mustRelease()
		c.mustBeHolders(l2)
	}},

	{"a permit that a crash frees goes to the queue, not to a newcomer", with(queue, limit), func(c *contract) {
		h, crashed := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		w, newcomer := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		h.mustHold(long)
		crashed.mustHold(c.short)
		if w.join(long).Granted {
			c.Skip("the machine stood still for longer than the TTL")
		}
		c.within(patience, "the head granted", func() bool {
			if newcomer.ask(long).Granted {
				c.Fatal("the newcomer was granted")
			}
			return w.renew(long).Held
		})
		newcomer.mustBeRefused(h, w)
	}},

	{"Release grants readers for their reservation", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		r1, r2 := c.reader(c.B, h.key), c.reader(c.A, h.key)
		r1.reservation, r2.reservation = long/4, long/2
		r1.mustWait()
		r2.mustWait()
		h.mustRelease()
		c.wantRemaining(c.client(c.A, h.key).mustBeRefused(r1, r2), long/2)
		r1.mustHold(long) // takes the reservation
		c.wantRemaining(c.client(c.B, h.key).mustBeRefused(r1, r2), long)
	}},

	{"a reserved permit that is not taken expires, and the next waiter gets it", with(queue), func(c *contract) {
		h := c.limited(c.A, c.key("k"), 1)
		h.mustHold(long)
		lapsed, next := c.limited(c.B, h.key, 1), c.limited(c.A, h.key, 1)
		lapsed.reservation = c.short
		lapsed.mustWait()
		next.mustWait()
		sent := time.Now()
		h.mustRelease()
		c.within(patience, "next granted", func() bool { return next.join(long).Granted })
		c.notBefore(sent.Add(c.short), "next granted")
		c.mustNotBeHolders(lapsed)
	}},

	{"a reader whose reservation expired returns to its place", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		late, r, w := c.reader(c.B, h.key), c.reader(c.A, h.key), c.client(c.B, h.key)
		late.reservation = c.short
		late.mustWait()
		r.mustWait()
		w.mustWait()
		h.mustRelease()
		time.Sleep(c.short + rounding)
		c.mustNotBeHolders(late)
		late.reservation = long
		c.within(patience, "granted before the exclusive owner", func() bool { return late.join(long).Granted })
		c.mustBeHolders(late, r)
		c.mustNotBeHolders(w)
	}},

	{"a granted reader that gives up hands on", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		r, w, late := c.reader(c.B, h.key), c.client(c.A, h.key), c.reader(c.B, h.key)
		r.mustWait()
		w.mustWait()
		late.mustWait()
		h.mustRelease()
		r.mustRelease() // granted, though it never asked again
		late.mustBeRefusedBy(w)
	}},

	{"a reader is in the queue once, though the reply to its first request was lost", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		r := c.reader(c.B, h.key)
		r.mustWait()
		r.ticket = 0
		r.mustWait()
		r.leave()
		h.mustRelease()
		c.holder(c.A, h.key, long)
	}},

	{"a reader that joined and is granted has left the queue", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		r := c.reader(c.B, h.key)
		r.mustWait()
		h.mustRelease()
		r.mustHold(long)
		r.mustRelease()
		c.holder(c.A, h.key, long)
	}},

	{"after KeepClosed all readers at the front of the queue are granted", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		r1, r2, w := c.reader(c.B, h.key), c.reader(c.A, h.key), c.client(c.B, h.key)
		for _, n := range []*client{r1, r2, w} {
			n.mustWait()
		}
		sent := time.Now()
		h.release(c.short)
		c.within(patience, "the second in the queue granted", func() bool { return r2.join(long).Granted })
		c.notBefore(sent.Add(c.short), "the second in the queue granted")
		c.mustBeHolders(r1, r2)
		c.mustNotBeHolders(w)
	}},

	{"a permit kept closed goes to the head of the queue when its time is over", with(queue, limit), func(c *contract) {
		h1, h2 := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		w1, w2 := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		h1.mustHold(long)
		h2.mustHold(long)
		w1.mustWait()
		w2.mustWait()
		sent := time.Now()
		h1.release(c.short)
		c.within(patience, "granted", func() bool {
			if w2.join(long).Granted {
				c.Fatal("the second in the queue was granted before the first")
			}
			return w1.renew(long).Held
		})
		c.notBefore(sent.Add(c.short), "granted")
		c.mustBeHolders(h2, w1)
	}},
}
