package storetest

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var queueChecks = []check{
	{"a waiter joins the queue last, with a ticket above all before", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		var last int64
		for i, n := range c.sixClients(h.key) {
			reply := n.mustWait()
			if reply.Ticket <= last {
				c.Errorf("ticket %d after %d", reply.Ticket, last)
			}
			last = reply.Ticket
			if reply.Head != (i == 0) {
				c.Errorf("waiter %d: Head = %v", i, reply.Head)
			}
			if reply.Holder != h.owner {
				c.Errorf("waiter %d: Holder = %q, want %q", i, reply.Holder, h.owner)
			}
		}
	}},

	{"a waiter that asks again keeps its place", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w1, w2 := c.waiter(c.A, h.key, long), c.waiter(c.B, h.key, long)
		for range 3 {
			if got := w2.mustWait(); got.Head {
				c.Error("the second in the queue is the head")
			}
			before := w1.ticket
			if got := w1.mustWait(); got.Ticket != before || !got.Head {
				c.Errorf("asked again: %+v, want ticket %d and head", got, before)
			}
		}
		h.mustRelease()
		w2.mustBeRefusedBy(w1)
	}},

	{"a waiter is in the queue once, though the reply to its first request was lost", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w := c.waiter(c.B, h.key, long)
		w.ticket = 0
		w.mustWait()
		w.leave()
		h.mustRelease()
		c.holder(c.A, h.key, long)
	}},

	{"Release grants the head of the queue for its reservation", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		const reservation = long / 2
		w1, w2 := c.waiter(c.B, h.key, reservation), c.waiter(c.A, h.key, long)
		h.mustRelease()
		c.wantRemaining(c.client(c.A, h.key).mustBeRefusedBy(w1), reservation)
		w2.mustBeRefusedBy(w1)
		w1.mustHold(long) // takes the reservation
		c.wantRemaining(c.client(c.A, h.key).mustBeRefusedBy(w1), long)
	}},

	{"waiters are granted in the order of arrival", with(queue), func(c *contract) {
		holder := c.holder(c.A, c.key("k"), long)
		queue := c.sixClients(holder.key)
		for _, w := range queue {
			w.mustWait()
		}
		for i, next := range queue {
			holder.mustRelease()
			for _, later := range queue[i+1:] {
				if later.join(long).Granted {
					c.Fatal("granted out of order")
				}
			}
			if !next.join(long).Granted {
				c.Fatalf("waiter %d was not granted in its turn", i)
			}
			holder = next
		}
		holder.mustRelease()
		c.holder(c.B, holder.key, long) // no waiter is left
	}},

	{"a reservation that is not taken expires, and the next waiter is granted", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		c.waiter(c.B, h.key, c.short)
		next := c.waiter(c.A, h.key, long)
		sent := time.Now()
		h.mustRelease()
		c.within(patience, "next granted", func() bool { return next.join(long).Granted })
		c.notBefore(sent.Add(c.short), "next granted")
	}},

	{"a waiter whose reservation expired returns to its place", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		late := c.waiter(c.B, h.key, c.short)
		w2, w3 := c.waiter(c.A, h.key, long), c.waiter(c.B, h.key, long)
		h.mustRelease()
		c.within(patience, "next granted", func() bool { return w2.join(long).Granted })

		late.reservation = long
		if reply := late.mustWait(); !reply.Head {
			c.Errorf("returned with ticket %d to %+v, want the head", late.ticket, reply)
		}
		w2.mustRelease()
		w3.mustBeRefusedBy(late)
	}},

	{"waiters that stopped asking are passed over in one step, and return to their places", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		silent := c.sixClients(h.key)
		for _, n := range silent {
			n.poll = 100 * time.Millisecond
			n.mustWait()
		}
		alive := c.client(c.A, h.key)
		alive.poll = 4 * time.Second // so that a stall of the machine is not taken for its end
		alive.mustWait()
		patient := c.waiter(c.B, h.key, long)
		patience := lease.Place{Poll: silent[0].poll}.Patience()
		for last := time.Now(); time.Since(last) < patience+200*time.Millisecond; time.Sleep(100 * time.Millisecond) {
			alive.mustWait()
		}
		h.mustRelease()
		patient.mustBeRefusedBy(alive)
		for i, n := range silent {
			n.poll = alive.poll // asks no more until alive has released
			if reply := n.mustWait(); reply.Head != (i == 0) {
				c.Errorf("the silent waiter %d returned with Head = %v", i, reply.Head)
			}
		}
		alive.mustRelease()
		patient.mustBeRefusedBy(silent[0])
	}},

	{"leaving takes a waiter out of the queue", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w1, w2 := c.waiter(c.B, h.key, long), c.waiter(c.A, h.key, long)
		w1.leave()
		w1.leave() // harmless
		if reply := w2.mustWait(); !reply.Head {
			c.Error("the next waiter is not the head")
		}
		h.mustRelease()
		w1.mustBeRefusedBy(w2)
	}},

	{"a granted waiter that gives up hands on to the next", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w1, w2 := c.waiter(c.B, h.key, long), c.waiter(c.A, h.key, long)
		h.mustRelease()
		w1.mustRelease() // granted, though it never asked again
		c.client(c.B, h.key).mustBeRefusedBy(w2)
	}},

	{"an expired key goes to the queue, not to a newcomer", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), c.short)
		w := c.client(c.B, h.key)
		for w.join(long).Granted { // the machine stood still for longer than the TTL
			w.mustRelease()
			h = c.holder(c.A, h.key, c.short)
			w = c.client(c.B, h.key)
		}
		c.newcomerFinds(h, w)
	}},

	{"a vanished key goes to the queue, not to a newcomer", with(queue, vanish), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w := c.waiter(c.B, h.key, long)
		c.Vanish(h.key)
		c.newcomerFinds(h, w)
	}},

	{"a later waiter does not overtake the head on a free key", with(queue, vanish), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w1, w2 := c.waiter(c.B, h.key, long), c.waiter(c.A, h.key, long)
		c.Vanish(h.key)
		if reply := w2.join(long); reply.Granted || reply.Holder != w1.owner {
			c.Errorf("the second in the queue got %+v, want refused by the head", reply)
		}
		w1.mustHold(long)
	}},

	{"the head of the queue is granted a vanished key when it asks", with(queue, vanish), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w1, w2 := c.waiter(c.B, h.key, long), c.waiter(c.A, h.key, long)
		c.Vanish(h.key)
		w1.mustHold(long)
		if reply := w2.mustWait(); !reply.Head {
			c.Error("the next waiter is not the head")
		}
		c.Vanish(h.key) // w1 is no longer in the queue
		w2.mustHold(long)
	}},
}

// sixClients alternate between the stores.
func (c *contract) sixClients(key string) []*client {
	var clients []*client
	for i := range 6 {
		clients = append(clients, c.client([]lease.Store{c.A, c.B}[i%2], key))
	}
	return clients
}

// newcomerFinds asks until gone's lease has ended, and wants it granted to next, the
// head of the queue.
func (c *contract) newcomerFinds(gone, next *client) {
	c.Helper()
	newcomer := c.client(c.A, gone.key)
	c.within(patience, "head granted", func() bool {
		reply := newcomer.join(long)
		if reply.Granted {
			c.Fatal("the newcomer was granted")
		}
		return reply.Holder == next.owner
	})
	next.mustHold(long)
	next.mustRelease()
	c.client(c.B, gone.key).mustBeRefusedBy(newcomer) // it had joined, behind
}
