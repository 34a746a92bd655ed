package storetest

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// The life of one permit among several of a key.
var permitChecks = []check{
	{"a crash frees a permit after its TTL, and only that one", with(limit), func(c *contract) {
		crashed, alive := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		next := c.limited(c.A, c.key("k"), 2)
		alive.mustHold(long)
		sent := time.Now()
		crashed.mustHold(c.short)
		c.within(patience, "next granted", func() bool { return next.ask(long).Granted })
		c.notBefore(sent.Add(c.short), "next granted")
		c.limited(c.B, c.key("k"), 2).mustBeRefused(alive, next)
		c.mustNotBeHolders(crashed)
		if crashed.release(0).Released {
			c.Error("Release of an expired permit said Released")
		}
		c.mustBeHolders(alive, next)
		c.limited(c.B, c.key("k"), 2).mustBeRefused(alive, next)
	}},

	{"a permit that expired is lost, even if it is free", always, func(c *contract) {
		crashed, alive := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k"))
		crashed.mustHold(c.short)
		alive.mustHold(long)
		time.Sleep(c.short + rounding)
		reply := crashed.renew(long)
		if reply.Held {
			c.Fatal("renewed")
		}
		c.namesOneOf(reply.Holder, []*client{alive})
		if crashed.release(0).Released {
			c.Error("Release said Released")
		}
		alive.mustRelease()
		c.holder(c.A, alive.key, long)
	}},

	{"crashed readers keep an exclusive owner out until the last TTL has passed", always, func(c *contract) {
		r1, r2 := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k"))
		w := c.client(c.A, r1.key)
		sent := time.Now()
		r1.mustHold(2 * c.short)
		if !r2.ask(c.short).Granted {
			c.Fatal("the second reader was refused")
		}
		c.within(patience, "granted", func() bool { return w.ask(long).Granted })
		c.notBefore(sent.Add(2*c.short), "granted")
		c.mustNotBeHolders(r1, r2)
	}},

	{"a renewal with a short TTL shortens no other lease", always, func(c *contract) {
		r1, r2 := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k"))
		r1.mustHold(long)
		r2.mustHold(long)
		if !r2.renew(c.short).Held {
			c.Fatal("the second reader does not hold the key")
		}
		w := c.client(c.A, r1.key)
		c.wantRemaining(w.mustBeRefused(r1, r2), long)
		time.Sleep(2 * c.short)
		w.mustBeRefused(r1, r2)
		c.mustBeHolders(r1)
	}},

	{"Renew extends the owner's permit and no other", with(limit), func(c *contract) {
		sent := time.Now()
		h1, h2, next := c.limited(c.A, c.key("k"), 2), c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		h1.mustHold(time.Second)
		h2.mustHold(time.Second)
		if !h2.renew(long).Held {
			if time.Since(sent) > time.Second {
				c.Skip("the machine stood still for longer than the TTL")
			}
			c.Fatal("the second holder does not hold the key")
		}
		c.wantRemaining(c.client(c.B, h1.key).mustBeRefused(h1, h2), long)
		c.within(patience, "next granted", func() bool { return next.ask(long).Granted })
		c.notBefore(sent.Add(time.Second), "next granted")
		c.mustNotBeHolders(h1)
		c.mustBeHolders(h2, next)
	}},

	{"Renew never creates a permit", with(limit), func(c *contract) {
		newcomer := c.limited(c.A, c.key("k"), 2)
		if reply := newcomer.renew(long); reply.Held || reply.Holder != "" {
			c.Errorf("Renew of a free key = %+v, want neither held nor a holder", reply)
		}
		c.holder(c.B, newcomer.key, long).mustRelease()

		h1, h2 := c.limited(c.B, newcomer.key, 2), c.limited(c.A, newcomer.key, 2)
		h1.mustHold(long)
		reply := newcomer.renew(long)
		if reply.Held {
			c.Error("Renew among others was answered held")
		}
		c.namesOneOf(reply.Holder, []*client{h1})
		h2.mustHold(long) // the second permit is free
		h2.mustRelease()
		c.mustNotBeHolders(h2)
		newcomer.mustHold(long)
	}},

	{"Renew by a reader never touches an exclusive owner's lease", always, func(c *contract) {
		h := c.holder(c.A, c.key("k"), patience)
		r := c.reader(c.B, h.key)
		if reply := r.renew(long); reply.Held || reply.Holder != h.owner {
			c.Errorf("Renew() = %+v, want Holder %q", reply, h.owner)
		}
		if reply := r.mustBeRefusedBy(h); reply.Remaining > patience+rounding {
			c.Errorf("a reader's Renew extended the lease to %v", reply.Remaining)
		}
	}},

	{"Release of what is not the owner's touches no other owner", always, func(c *contract) {
		r1, r2 := c.reader(c.A, c.key("readers")), c.reader(c.B, c.key("readers"))
		r1.mustHold(long)
		r2.mustHold(long)
		h := c.holder(c.A, c.key("exclusive"), long)
		for _, keepClosed := range []time.Duration{0, c.short} {
			for _, key := range []string{r1.key, h.key} {
				if c.reader(c.B, key).release(keepClosed).Released || c.client(c.B, key).release(keepClosed).Released {
					c.Errorf("Release(%q) by another owner said Released", key)
				}
			}
		}
		c.mustBeHolders(r1, r2, h)
		c.reader(c.B, h.key).mustBeRefusedBy(h)
		r1.mustRelease()
		c.client(c.A, r1.key).mustBeRefused(r2)
	}},

	{"repeating Release of a permit frees no other", with(limit), func(c *contract) {
		h1, h2, next := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2), c.limited(c.A, c.key("k"), 2)
		h1.mustHold(long)
		h2.mustHold(long)
		h1.mustRelease()
		next.mustHold(long)
		if h1.release(0).Released || h1.release(c.short).Released {
			c.Error("the second Release said Released")
		}
		h1.mustBeRefused(h2, next)
		c.mustBeHolders(h2, next)
	}},

	{"KeepClosed keeps the permit taken for its time, and no other", with(limit), func(c *contract) {
		h1, h2, next := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2), c.limited(c.A, c.key("k"), 2)
		h1.mustHold(long)
		h2.mustHold(long)
		sent := time.Now()
		if !worked(h1.release(c.short)) {
			c.Error("closing Release did not say Released")
		}
		if reply := next.ask(long); !reply.Granted && reply.Remaining > c.short+rounding {
			c.Errorf("taken for %v, want at most %v", reply.Remaining, c.short)
		}
		c.mustBeHolders(h2)
		if !next.ask(long).Granted {
			c.within(patience, "granted", func() bool { return next.ask(long).Granted })
		}
		c.notBefore(sent.Add(c.short), "granted")
		c.mustBeHolders(h2, next)
	}},

	{"KeepClosed takes the permit from its owner", always, func(c *contract) {
		h, other := c.limited(c.A, c.key("k"), 1), c.limited(c.B, c.key("k"), 1)
		h.mustHold(long)
		if !worked(h.release(long)) {
			c.Error("closing Release did not say Released")
		}
		c.mustNotBeHolders(h)
		if h.release(0).Released { // repeated, or a clean-up
			c.Error("the second Release said Released")
		}
		h.mustBeRefused(h)
		other.mustBeRefused(h)
		c.client(c.B, h.key).mustBeRefused(h)
	}},

	{"two permits kept closed are two, though one process left both", with(limit), func(c *contract) {
		h1, h2, next := c.limited(c.A, c.key("k"), 2), c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2)
		h1.mustHold(long)
		h2.mustHold(long)
		h1.release(long)
		h2.release(long)
		c.wantRemaining(next.mustBeRefused(h1, h2), long)
	}},

	{"a reader's KeepClosed keeps exclusive owners out and readers not", always, func(c *contract) {
		r1, r2, w := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k")), c.client(c.B, c.key("k"))
		r1.mustHold(long)
		sent := time.Now()
		r1.release(c.short)
		r2.mustHold(long)
		r2.mustRelease()
		if !w.ask(long).Granted {
			c.within(patience, "granted", func() bool { return w.ask(long).Granted })
		}
		c.notBefore(sent.Add(c.short), "granted")
	}},

	{"a key that an exclusive owner kept closed is closed to readers", always, func(c *contract) {
		h, r := c.holder(c.A, c.key("k"), long), c.reader(c.B, c.key("k"))
		sent := time.Now()
		h.release(c.short)
		c.within(patience, "granted", func() bool { return r.ask(long).Granted })
		c.notBefore(sent.Add(c.short), "granted")
	}},

	{"a foreign lock keeps all owners out and is left alone, whatever its text", with(foreign), func(c *contract) {
		for _, limit := range c.allowed(lease.Exclusive, lease.Shared, 1, 5) {
			key := c.key("k")
			for _, value := range []string{"worker-7", "", "a|b", "shared|x|y", "limited|x|", "closed|x|"} {
				c.Foreign(key, value, long)
				w := c.limited(c.A, key, limit)
				for range 2 { // the second time when the first has waited and left
					reply, err := c.A.Acquire(c.ctx, lease.AcquireRequest{
						Key: key, Owner: w.owner, Limit: limit, TTL: long, Join: true, Place: lease.Place{Reservation: long}, TokenCount: 1,
					})
					if err != nil || reply.Granted || reply.Holder != value {
						c.Errorf("limit %d: Acquire() = %+v, %v; want refused by %q", limit, reply, err, value)
					}
					c.wantRemaining(reply, long)
					w.leave()
				}
			}
			c.Foreign(key, "worker-7", 0)
			if reply := c.limited(c.B, key, limit).ask(long); reply.Granted || reply.Remaining >= 0 {
				c.Errorf("limit %d: Acquire() = %+v, want refused with negative Remaining", limit, reply)
			}
		}
	}},

	{"a foreign lock is kept out while any owner holds the key", with(tryForeign), func(c *contract) {
		r1, r2, w := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k")), c.client(c.A, c.key("k"))
		keptOut := func(who string) {
			c.Helper()
			if c.TryForeign(r1.key, "worker-7", long) {
				c.Fatalf("another program took the key from %s", who)
			}
		}
		w.mustHold(long)
		keptOut("an exclusive owner")
		w.mustRelease()
		r1.mustHold(long)
		keptOut("a reader")
		r2.mustHold(long)
		r1.mustRelease()
		keptOut("the other reader")
		c.mustBeHolders(r2)
		keptOut("a reader that renewed")
		r2.release(long)
		keptOut("a reader whose permit is kept closed")

		r1.key = c.key("other")
		r1.mustHold(long)
		r1.mustRelease()
		// A release over several servers waits for a majority of them.
		c.within(time.Second, "another program takes the key that all have left", func() bool { return c.TryForeign(r1.key, "worker-7", long) })
	}},
}
