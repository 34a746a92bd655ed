package storetest

import (
	"time"
)

// Which waiters are woken when several are granted.
var watchLimitChecks = []check{
	{"all readers that are granted are woken", with(watch, queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		readers := []*client{c.reader(c.A, h.key), c.reader(c.B, h.key), c.reader(c.A, h.key)}
		wakes := c.waitAndWatch(readers...)
		h.mustRelease()
		for i, r := range readers {
			c.await(wakes[i])
			r.mustHold(long)
		}
	}},

	{"readers are woken when the exclusive owner before them leaves the queue", with(watch, queue), func(c *contract) {
		r, w := c.reader(c.A, c.key("k")), c.client(c.B, c.key("k"))
		r.mustHold(long)
		w.mustWait()
		readers := []*client{c.reader(c.A, r.key), c.reader(c.B, r.key)}
		wakes := c.waitAndWatch(readers...)
		w.leave()
		c.await(wakes[0])
		c.await(wakes[1])
		c.mustBeHolders(readers...)
	}},

	{"readers are woken when another owner's request grants them the key", with(watch, queue, vanish), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		readers := []*client{c.reader(c.A, h.key), c.reader(c.B, h.key)}
		wakes := c.waitAndWatch(readers...)
		c.Vanish(h.key)
		c.client(c.A, h.key).mustBeRefused(readers...)
		c.await(wakes[0])
		c.await(wakes[1])
		c.mustBeHolders(readers...)
	}},

	{"an exclusive owner is woken when the last reader leaves", with(watch, queue), func(c *contract) {
		r1, r2, w := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k")), c.client(c.B, c.key("k"))
		r1.mustHold(long)
		r2.mustHold(long)
		woken := c.waitAndWatch(w)[0]
		r1.mustRelease()
		c.mustNotBeHolders(w)
		drain(woken) // not needed, but allowed
		r2.mustRelease()
		c.await(woken)
		w.mustHold(long)
	}},

	{"a waiter for a permit is woken when it is granted one", with(watch, queue, limit), func(c *contract) {
		h1, h2 := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		h1.mustHold(long)
		h2.mustHold(long)
		queue := []*client{c.limited(c.B, c.key("k"), 2), c.limited(c.A, c.key("k"), 2)}
		wakes := c.waitAndWatch(queue...)
		h1.mustRelease()
		c.await(wakes[0])
		queue[0].mustHold(long)
		drain(wakes[1])
		h2.mustRelease()
		c.await(wakes[1])
		queue[1].mustHold(long)
	}},

	{"a reader that is no longer watched does not keep a grant", with(watch, queue), func(c *contract) {
		h := c.holder(c.B, c.key("k"), long)
		gone, next := c.reader(c.A, h.key), c.client(c.A, h.key)
		_, stopGone := gone.watch()
		woken, stop := next.watch() // the process is alive, its reader is not
		defer stop()
		gone.mustWait()
		next.mustWait()
		stopGone()
		drain(woken)
		h.mustRelease()
		for c.await(woken); !next.join(long).Granted; { // woken before the grant came back
			c.await(woken)
		}
		c.mustNotBeHolders(gone)
	}},

	{"a reader that never was watched keeps a grant for its reservation", with(watch, queue), func(c *contract) {
		h := c.holder(c.B, c.key("k"), long)
		polling, watched := c.reader(c.A, h.key), c.client(c.A, h.key)
		_, stop := watched.watch()
		defer stop()
		polling.mustWait()
		watched.mustWait()
		h.mustRelease()
		time.Sleep(c.short) // for a message to arrive
		watched.mustBeRefused(polling)
		polling.mustHold(long)
	}},
}

// waitAndWatch has all watched and waiting in the queue, and returns their wakes.
func (c *contract) waitAndWatch(ns ...*client) (wakes []chan struct{}) {
	c.Helper()
	for _, n := range ns {
		woken, stop := n.watch()
		c.Cleanup(stop)
		n.mustWait()
		wakes = append(wakes, woken)
	}
	for _, woken := range wakes {
		drain(woken)
	}
	return wakes
}
