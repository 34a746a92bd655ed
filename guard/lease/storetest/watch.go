package storetest

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var watchChecks = []check{
	{"a watched waiter is woken when it is granted the key", with(watch, queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w := c.client(c.B, h.key)
		woken, stop := w.watch()
		defer stop()
		w.mustWait()
		drain(woken)
		h.mustRelease()
		c.await(woken)
		w.mustHold(long)
	}},

	{"the head of the queue stays the head when its watch begins, and when it ends", with(watch, queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w := c.client(c.B, h.key)
		stillHead := func(when string) {
			if !w.mustWait().Head {
				c.Errorf("%s: the only waiter is not the head", when)
			}
		}
		stillHead("before")
		_, stop := w.watch()
		c.within(patience, "watched", func() bool {
			reply := w.mustWait()
			if !reply.Head {
				c.Error("the watch begins: the only waiter is not the head")
			}
			return reply.Watched
		})
		stop()
		for range 3 {
			stillHead("the watch has ended")
		}
	}},

	{"a watched waiter is woken by a release, with or without a queue", with(watch), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w := c.client(c.B, h.key)
		woken, stop := w.watch()
		defer stop()
		w.mustWait()
		time.Sleep(c.short) // wake-ups that are not about the release have arrived
		drain(woken)
		h.mustRelease()
		c.await(woken)
		c.within(patience, "granted", func() bool { return w.join(long).Granted })
	}},

	{"a watched waiter is woken when another owner's request grants it the key", with(watch, queue, vanish), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w := c.client(c.B, h.key)
		woken, stop := w.watch()
		defer stop()
		w.mustWait()
		drain(woken)
		c.Vanish(h.key)
		c.client(c.A, h.key).mustBeRefusedBy(w)
		c.await(woken)
	}},

	{"a watched waiter is woken when the one before it gives up", with(watch, queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w1, w2 := c.waiter(c.A, h.key, long), c.client(c.B, h.key)
		woken, stop := w2.watch()
		defer stop()
		w2.mustWait()
		h.mustRelease()
		drain(woken)
		w1.mustRelease()
		c.await(woken)
	}},

	{"each waiter is woken in its turn, in either process", with(watch, queue), func(c *contract) {
		holder := c.holder(c.A, c.key("k"), long)
		queue := c.sixClients(holder.key)
		var wakes []chan struct{}
		for _, w := range queue {
			woken, stop := w.watch()
			c.Cleanup(stop)
			w.mustWait()
			wakes = append(wakes, woken)
		}
		for i, w := range queue {
			drain(wakes[i])
			holder.mustRelease()
			c.await(wakes[i])
			w.mustHold(long)
			holder = w
		}
	}},

	{"after Unwatch wake is not called for later grants", with(watch, queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w := c.client(c.B, h.key)
		woken, stop := w.watch()
		w.mustWait()
		stop()
		time.Sleep(c.short / 2) // an earlier wake-up may still arrive
		drain(woken)
		h.mustRelease()
		select {
		case <-woken:
			c.Error("woken after Unwatch")
		case <-time.After(c.short):
		}
	}},

	{"a wake-up with a token is a valid grant: the lease exists and lasts from Since for the reservation", with(watch, queue, grants), func(c *contract) {
		// A store may need a first wake-up before its wake-ups carry tokens.
		early := c.client(c.B, c.key("early"))
		blocker := c.holder(c.A, early.key, long)
		woken, stopEarly := early.watch()
		defer stopEarly()
		early.mustWait()
		drain(woken)
		blocker.mustRelease()
		c.await(woken)

		h := c.holder(c.A, c.key("k"), long)
		before := h.mustHold(long).Fence
		w := c.client(c.B, h.key)
		w.reservation = 3 * c.short
		grants := make(chan lease.Grant, 16)
		defer w.onWake(func(g lease.Grant) bool { grants <- g; return g.Fence != 0 })()
		asked := time.Now()
		w.mustWait()
		h.mustRelease()
		var g lease.Grant
		for g.Fence == 0 {
			select {
			case g = <-grants: // not needed, as long as it has no token
			case <-time.After(patience):
				c.Fatal("no wake-up carried the token of the grant")
			}
		}
		if g.Fence <= before {
			c.Errorf("token %d after %d", g.Fence, before)
		}
		if g.Since.Before(asked) || g.Since.After(time.Now()) {
			c.Errorf("Since is not between the request and the wake-up")
		}
		time.Sleep(time.Until(g.Since.Add(w.reservation - 20*time.Millisecond)))
		if reply := w.renew(long); !reply.Held && time.Since(g.Since) < w.reservation {
			c.Error("the lease did not live for its reservation")
		}
	}},

	{"a waiter that is no longer watched does not keep a grant", with(watch, queue), func(c *contract) {
		h := c.holder(c.B, c.key("k"), long)
		gone, next := c.client(c.A, h.key), c.client(c.A, h.key)
		_, stopGone := gone.watch()
		woken, stop := next.watch() // the process is alive, its waiter is not
		defer stop()
		gone.mustWait()
		next.mustWait()
		stopGone()
		drain(woken)
		h.mustRelease()
		for c.await(woken); !next.join(long).Granted; { // woken before the grant came back
			c.await(woken)
		}
	}},

	{"a waiter that never was watched keeps a grant for its reservation", with(watch, queue), func(c *contract) {
		h := c.holder(c.B, c.key("k"), long)
		polling, watched := c.waiter(c.A, h.key, long), c.client(c.A, h.key)
		_, stop := watched.watch()
		defer stop()
		watched.mustWait()
		h.mustRelease()
		time.Sleep(c.short) // for a message to arrive
		watched.mustBeRefusedBy(polling)
		polling.mustHold(long)
	}},
}

func drain(woken chan struct{}) {
	select {
	case <-woken:
	default:
	}
}

func (c *contract) await(woken chan struct{}) {
	c.Helper()
	select {
	case <-woken:
	case <-time.After(patience):
		c.Fatalf("not woken within %v", patience)
	}
}
