package storetest

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Whose turn it is, in a line of exclusive owners and others.
var turnChecks = []check{
	{"a reader does not overtake an exclusive owner that waits", func(c *contract) {
		c.needsQueue()
		r1, w, r2 := c.reader(c.A, c.key("k")), c.client(c.B, c.key("k")), c.reader(c.A, c.key("k"))
		r1.mustHold(long)
		w.mustWait()
		r2.mustWait()
		c.reader(c.B, r1.key).mustBeRefused(r1) // one that does not wait neither
		r1.mustHold(long)                       // one that is there is not meant
		c.mustNotBeThere(r2)
		r1.mustRelease()
		r2.mustBeRefusedBy(w)
		w.mustHold(long)
		c.mustNotBeThere(r2)
		w.mustRelease()
		c.mustBeThere(r2)
		r2.mustHold(long)
	}},

	{"of two readers, an exclusive owner and two readers in line come two, one, two", func(c *contract) {
		c.needsQueue()
		h := c.holder(c.A, c.key("k"), long)
		r1, r2 := c.reader(c.A, h.key), c.reader(c.B, h.key)
		w := c.client(c.A, h.key)
		r3, r4 := c.reader(c.B, h.key), c.reader(c.A, h.key)
		var last int64
		for i, n := range []*client{r1, r2, w, r3, r4} {
			reply := n.mustWait()
			if reply.Ticket <= last || reply.Head != (i == 0) || reply.Holder != h.owner {
				c.Errorf("number %d in line got %+v after ticket %d, held by %q", i+1, reply, last, h.owner)
			}
			last = reply.Ticket
		}

		h.mustRelease()
		c.mustBeThere(r1, r2)
		c.mustNotBeThere(w, r3, r4)
		if !w.mustWait().Head {
			c.Error("the exclusive owner is not the head now")
		}
		r4.mustWait()
		r3.mustWait()
		r2.mustHold(long)
		r2.mustRelease()
		c.mustNotBeThere(w, r3, r4)
		r1.mustRelease() // it never asked again

		r3.mustBeRefusedBy(w)
		w.mustHold(long)
		c.mustNotBeThere(r3, r4)
		w.mustRelease()

		c.mustBeThere(r3, r4)
		c.client(c.B, h.key).mustBeRefused(r3, r4)
		r3.mustRelease()
		r4.mustRelease()
		c.holder(c.A, h.key, long) // nobody is left
	}},

	{"a stream of readers does not starve an exclusive owner", func(c *contract) {
		c.needsQueue()
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
				c.mustNotBeThere(append(after, w)...)
			}
		}
		w.mustHold(long)
		c.mustNotBeThere(after...)
		w.mustRelease()
		c.mustBeThere(after...)
	}},

	{"readers that wait are let in when the exclusive owner before them leaves the line", func(c *contract) {
		c.needsQueue()
		r1, w := c.reader(c.A, c.key("k")), c.client(c.B, c.key("k"))
		r2, r3 := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k"))
		r1.mustHold(long)
		w.mustWait()
		r2.mustWait()
		r3.mustWait()
		c.mustNotBeThere(r2, r3)
		w.leave()
		c.mustBeThere(r1, r2, r3)
		c.client(c.A, r1.key).mustBeRefused(r1, r2, r3)
	}},

	{"whoever leaves the middle of the line lets nobody in", func(c *contract) {
		c.needsQueue()
		r1, w := c.reader(c.A, c.key("k")), c.client(c.B, c.key("k"))
		r2, r3 := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k"))
		r1.mustHold(long)
		w.mustWait()
		r2.mustWait()
		r3.mustWait()
		r2.leave()
		r2.leave() // harmless
		c.mustNotBeThere(w, r2, r3)
		if !w.mustWait().Head {
			c.Error("the exclusive owner is no longer the head")
		}
		r1.mustRelease()
		w.mustHold(long)
		w.mustRelease()
		c.mustBeThere(r3)
		c.mustNotBeThere(r2)
	}},

	{"a limit gives its places one by one, in the order of arrival", func(c *contract) {
		c.needsQueue()
		c.needsLimit()
		limited := func(i int) *client { return c.limited([]lease.Store{c.A, c.B}[i%2], c.key("k"), 2) }
		holders := []*client{limited(0), limited(1)}
		var line []*client
		for _, h := range holders {
			h.mustHold(long)
		}
		for i := range 5 {
			w := limited(i)
			w.mustWait()
			line = append(line, w)
		}
		for len(line) > 0 {
			next, rest := line[0], line[1:]
			holders[0].mustRelease()
			for _, later := range rest {
				if later.join(long).Granted {
					c.Fatal("granted out of order")
				}
			}
			c.mustBeThere(holders[1], next)
			next.mustHold(long)
			c.mustNotBeThere(rest...)
			holders, line = []*client{holders[1], next}, rest
		}
		holders[0].mustRelease()
		holders[1].mustRelease()
		c.holder(c.A, c.key("k"), long)
	}},

	{"handing on stops at the first for whom there is no limit", func(c *contract) {
		c.needsQueue()
		c.needsLimit()
		h1, h2 := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		h1.mustHold(long)
		h2.mustHold(long)
		one, two, r := c.limited(c.A, c.key("k"), 1), c.limited(c.B, c.key("k"), 2), c.reader(c.A, c.key("k"))
		one.mustWait()
		two.mustWait()
		r.mustWait()
		h1.mustRelease() // limit for two and for r, but one is first
		c.mustNotBeThere(one, two, r)
		r.mustWait()
		two.mustBeRefused(h2)
		h2.mustRelease()
		c.mustBeThere(one)
		c.mustNotBeThere(two, r)
		one.mustRelease()
		c.mustBeThere(two, r)
	}},

	{"an exclusive owner waits behind those that wait for a place, and they behind it", func(c *contract) {
		c.needsQueue()
		c.needsLimit()
		h := c.limited(c.A, c.key("k"), 1)
		h.mustHold(long)
		l1, w, l2 := c.limited(c.B, c.key("k"), 2), c.client(c.A, c.key("k")), c.limited(c.B, c.key("k"), 2)
		l1.mustWait()
		w.mustWait()
		l2.mustWait()
		h.mustRelease()
		c.mustBeThere(l1)
		c.mustNotBeThere(w, l2) // though there is room for l2
		l1.mustRelease()
		l2.mustBeRefusedBy(w)
		w.mustRelease()
		c.mustBeThere(l2)
	}},

	{"a newcomer does not barge into a place that a crash frees", func(c *contract) {
		c.needsQueue()
		c.needsLimit()
		h, crashed := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		w, newcomer := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		h.mustHold(long)
		crashed.mustHold(short)
		if w.join(long).Granted {
			c.Skip("the machine stood still for longer than the TTL")
		}
		c.within(patience, "the first in line granted", func() bool {
			if newcomer.ask(long).Granted {
				c.Fatal("the newcomer was granted")
			}
			return w.renew(long).Held
		})
		newcomer.mustBeRefused(h, w)
	}},

	{"Release lets in readers for their reservation", func(c *contract) {
		c.needsQueue()
		h := c.holder(c.A, c.key("k"), long)
		r1, r2 := c.reader(c.B, h.key), c.reader(c.A, h.key)
		r1.reservation, r2.reservation = long/4, long/2
		r1.mustWait()
		r2.mustWait()
		h.mustRelease()
		c.wantRemaining(c.client(c.A, h.key).mustBeRefused(r1, r2), long/2)
		r1.mustHold(long) // takes up the grant
		c.wantRemaining(c.client(c.B, h.key).mustBeRefused(r1, r2), long)
	}},

	{"a place that is not taken up lapses, and the next in line gets it", func(c *contract) {
		c.needsQueue()
		c.needsLimit()
		h := c.limited(c.A, c.key("k"), 1)
		h.mustHold(long)
		lapsed, next := c.limited(c.B, h.key, 1), c.limited(c.A, h.key, 1)
		lapsed.reservation = short
		lapsed.mustWait()
		next.mustWait()
		sent := time.Now()
		h.mustRelease()
		c.within(patience, "next granted", func() bool { return next.join(long).Granted })
		c.notBefore(sent.Add(short), "next granted")
		c.mustNotBeThere(lapsed)
	}},

	{"a reader whose grant lapsed returns to its old place", func(c *contract) {
		c.needsQueue()
		h := c.holder(c.A, c.key("k"), long)
		late, r, w := c.reader(c.B, h.key), c.reader(c.A, h.key), c.client(c.B, h.key)
		late.reservation = short
		late.mustWait()
		r.mustWait()
		w.mustWait()
		h.mustRelease()
		time.Sleep(short + rounding)
		c.mustNotBeThere(late)
		late.reservation = long
		c.within(patience, "granted before the exclusive owner", func() bool { return late.join(long).Granted })
		c.mustBeThere(late, r)
		c.mustNotBeThere(w)
	}},

	{"a reader that was let in and gives up hands on", func(c *contract) {
		c.needsQueue()
		h := c.holder(c.A, c.key("k"), long)
		r, w, late := c.reader(c.B, h.key), c.client(c.A, h.key), c.reader(c.B, h.key)
		r.mustWait()
		w.mustWait()
		late.mustWait()
		h.mustRelease()
		r.mustRelease() // granted, though it never asked again
		late.mustBeRefusedBy(w)
	}},

	{"a reader stands in line once, though the reply to its first ask was lost", func(c *contract) {
		c.needsQueue()
		h := c.holder(c.A, c.key("k"), long)
		r := c.reader(c.B, h.key)
		r.mustWait()
		r.ticket = 0
		r.mustWait()
		r.leave()
		h.mustRelease()
		c.holder(c.A, h.key, long)
	}},

	{"a reader that joined and is granted stands in line no more", func(c *contract) {
		c.needsQueue()
		h := c.holder(c.A, c.key("k"), long)
		r := c.reader(c.B, h.key)
		r.mustWait()
		h.mustRelease()
		r.mustHold(long)
		r.mustRelease()
		c.holder(c.A, h.key, long)
	}},

	{"after Close all readers at the front of the line come in", func(c *contract) {
		c.needsQueue()
		h := c.holder(c.A, c.key("k"), long)
		r1, r2, w := c.reader(c.B, h.key), c.reader(c.A, h.key), c.client(c.B, h.key)
		for _, n := range []*client{r1, r2, w} {
			n.mustWait()
		}
		sent := time.Now()
		h.release(short)
		c.within(patience, "the second in line granted", func() bool { return r2.join(long).Granted })
		c.notBefore(sent.Add(short), "the second in line granted")
		c.mustBeThere(r1, r2)
		c.mustNotBeThere(w)
	}},

	{"a closed place is given to the first in line when its time is over", func(c *contract) {
		c.needsQueue()
		c.needsLimit()
		h1, h2 := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		w1, w2 := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		h1.mustHold(long)
		h2.mustHold(long)
		w1.mustWait()
		w2.mustWait()
		sent := time.Now()
		h1.release(short)
		c.within(patience, "granted", func() bool {
			if w2.join(long).Granted {
				c.Fatal("the second in line was granted before the first")
			}
			return w1.renew(long).Held
		})
		c.notBefore(sent.Add(short), "granted")
		c.mustBeThere(h2, w1)
	}},
}

// Who is woken when the turn comes to several.
var turnWakeChecks = []check{
	{"all readers that are let in are woken", func(c *contract) {
		c.needsWatch()
		h := c.holder(c.A, c.key("k"), long)
		readers := []*client{c.reader(c.A, h.key), c.reader(c.B, h.key), c.reader(c.A, h.key)}
		wakes := c.waitAndWatch(readers...)
		h.mustRelease()
		for i, r := range readers {
			c.await(wakes[i])
			r.mustHold(long)
		}
	}},

	{"readers are woken when the exclusive owner before them leaves the line", func(c *contract) {
		c.needsWatch()
		r, w := c.reader(c.A, c.key("k")), c.client(c.B, c.key("k"))
		r.mustHold(long)
		w.mustWait()
		readers := []*client{c.reader(c.A, r.key), c.reader(c.B, r.key)}
		wakes := c.waitAndWatch(readers...)
		w.leave()
		c.await(wakes[0])
		c.await(wakes[1])
		c.mustBeThere(readers...)
	}},

	{"readers are woken when another's question lets them in", func(c *contract) {
		c.needsWatch()
		needs(c, "Vanish", c.Vanish)
		h := c.holder(c.A, c.key("k"), long)
		readers := []*client{c.reader(c.A, h.key), c.reader(c.B, h.key)}
		wakes := c.waitAndWatch(readers...)
		c.Vanish(h.key)
		c.client(c.A, h.key).mustBeRefused(readers...)
		c.await(wakes[0])
		c.await(wakes[1])
		c.mustBeThere(readers...)
	}},

	{"an exclusive owner is woken when the last reader leaves", func(c *contract) {
		c.needsWatch()
		r1, r2, w := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k")), c.client(c.B, c.key("k"))
		r1.mustHold(long)
		r2.mustHold(long)
		woken := c.waitAndWatch(w)[0]
		r1.mustRelease()
		c.mustNotBeThere(w)
		drain(woken) // without need, but allowed
		r2.mustRelease()
		c.await(woken)
		w.mustHold(long)
	}},

	{"who waits for a place is woken when it is granted one", func(c *contract) {
		c.needsWatch()
		c.needsLimit()
		h1, h2 := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		h1.mustHold(long)
		h2.mustHold(long)
		line := []*client{c.limited(c.B, c.key("k"), 2), c.limited(c.A, c.key("k"), 2)}
		wakes := c.waitAndWatch(line...)
		h1.mustRelease()
		c.await(wakes[0])
		line[0].mustHold(long)
		drain(wakes[1])
		h2.mustRelease()
		c.await(wakes[1])
		line[1].mustHold(long)
	}},

	{"a reader that is watched no more does not keep a grant", func(c *contract) {
		c.needsWatch()
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
		c.mustNotBeThere(gone)
	}},

	{"a reader that never was watched keeps a grant for its reservation", func(c *contract) {
		c.needsWatch()
		h := c.holder(c.B, c.key("k"), long)
		polling, watched := c.reader(c.A, h.key), c.client(c.A, h.key)
		_, stop := watched.watch()
		defer stop()
		polling.mustWait()
		watched.mustWait()
		h.mustRelease()
		time.Sleep(short) // for a message to do harm
		watched.mustBeRefused(polling)
		polling.mustHold(long)
	}},
}

// waitAndWatch puts all in line, watched, and returns their wakes.
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
