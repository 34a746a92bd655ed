package storetest

import "time"

// What becomes of permits when the key is deleted behind the stores' backs.
var vanishChecks = []check{
	{"all holders lose a key that vanishes, and an exclusive owner is granted", with(vanishing), func(c *contract) {
		for name, vanish := range c.waysToVanish() {
			r1, r2 := c.reader(c.A, c.key(name)), c.reader(c.B, c.key(name))
			r1.mustHold(long)
			r2.mustHold(long)
			vanish(r1.key)
			if reply := r1.renew(long); reply.Held || reply.Holder != "" {
				c.Errorf("%s: Renew() = %+v, want neither held nor a holder", name, reply)
			}
			w := c.holder(c.B, r1.key, long)
			if reply := r2.renew(long); reply.Held || reply.Holder != w.owner {
				c.Errorf("%s: Renew() = %+v, want Holder %q", name, reply, w.owner)
			}
			if r1.release(0).Released || r2.release(c.short).Released {
				c.Errorf("%s: Release said Released", name)
			}
			c.mustBeHolders(w)
			w.mustRelease()
			c.reader(c.A, r1.key).mustHold(long)
			c.mustNotBeHolders(r1, r2) // other holders do not bring them back
		}
	}},

	{"a key that vanished starts again with all permits", with(limit, vanishing), func(c *contract) {
		for name, vanish := range c.waysToVanish() {
			h1, h2 := c.limited(c.A, c.key(name), 2), c.limited(c.B, c.key(name), 2)
			h1.mustHold(long)
			h2.mustHold(long)
			vanish(h1.key)
			n1, n2 := c.limited(c.A, c.key(name), 2), c.limited(c.B, c.key(name), 2)
			n1.mustHold(long)
			c.mustNotBeHolders(h1)
			n2.mustHold(long)
			c.mustNotBeHolders(h1, h2)
			if h1.release(0).Released || h2.release(c.short).Released {
				c.Errorf("%s: Release said Released", name)
			}
			c.limited(c.A, c.key(name), 2).mustBeRefused(n1, n2)
			c.mustBeHolders(n1, n2)
		}
	}},

	{"an owner that asks for its vanished key holds it alone", with(vanishing), func(c *contract) {
		for name, vanish := range c.waysToVanish() {
			r1, r2 := c.reader(c.A, c.key(name)), c.reader(c.B, c.key(name))
			r1.mustHold(long)
			r2.mustHold(long)
			vanish(r1.key)
			r1.mustHold(long)
			c.mustNotBeHolders(r2)
			r1.mustRelease()
			c.holder(c.A, r1.key, long)
		}
	}},

	{"all holders lose a key that another program takes", with(foreign), func(c *contract) {
		r1, r2 := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k"))
		r1.mustHold(long)
		r2.mustHold(long)
		c.Foreign(r1.key, "worker-7", 0)
		for _, r := range []*client{r1, r2} {
			if reply := r.renew(long); reply.Held || reply.Holder != "worker-7" {
				c.Errorf("Renew() = %+v, want held by worker-7", reply)
			}
		}
		if r1.release(0).Released || r2.release(c.short).Released {
			c.Error("Release of a foreign value said Released")
		}
		if reply := r1.ask(long); reply.Granted || reply.Holder != "worker-7" || reply.Remaining >= 0 {
			c.Errorf("Acquire() = %+v, want refused by worker-7 for ever", reply)
		}
	}},

	{"leases that another program took stay lost when it leaves", with(foreign), func(c *contract) {
		r1, r2 := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k"))
		r1.mustHold(long)
		r2.mustHold(long)
		set := time.Now()
		c.Foreign(r1.key, "worker-7", c.short)
		w := c.client(c.A, r1.key)
		c.within(patience, "granted", func() bool { return w.ask(long).Granted })
		c.notBefore(set.Add(c.short), "granted")
		w.mustRelease()
		c.reader(c.B, r1.key).mustHold(long)
		c.mustNotBeHolders(r1, r2)
	}},

	{"a vanished key goes to all readers at the front of the queue", with(queue, vanish), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		r1, r2, w := c.reader(c.B, h.key), c.reader(c.A, h.key), c.client(c.B, h.key)
		for _, n := range []*client{r1, r2, w} {
			n.mustWait()
		}
		c.Vanish(h.key)
		c.reader(c.A, h.key).mustBeRefused(r1, r2) // it is behind w
		c.mustBeHolders(r1, r2)
		c.mustNotBeHolders(w)
	}},

	{"a queue stays when the readers' key vanishes", with(queue, vanish), func(c *contract) {
		r1, w, r2 := c.reader(c.A, c.key("k")), c.client(c.B, c.key("k")), c.reader(c.A, c.key("k"))
		r1.mustHold(long)
		w.mustWait()
		r2.mustWait()
		c.Vanish(r1.key)
		r2.mustBeRefusedBy(w)
		w.mustHold(long)
		w.mustRelease()
		c.mustBeHolders(r2)
	}},
}

// waysToVanish are the fixture's ways to delete a key.
func (c *contract) waysToVanish() map[string]func(key string) {
	c.Helper()
	settled := func(vanish func(key string)) func(string) {
		return func(key string) {
			if c.Settle != nil {
				c.Settle(key)
			}
			vanish(key)
		}
	}
	ways := make(map[string]func(string))
	if c.Vanish != nil {
		ways["vanished"] = settled(c.Vanish)
	}
	if c.Flush != nil {
		ways["flushed"] = settled(func(string) { c.Flush() })
	}
	return ways
}
