package storetest

import "time"

var releaseChecks = []check{
	{"Release ends the owner's lease", always, func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		h.mustRelease()
		c.holder(c.B, h.key, long)
	}},

	{"Release never touches another owner's lease", always, func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		rival := c.client(c.B, h.key)
		if rival.release(0).Released || rival.release(c.short).Released {
			c.Error("Release of another owner's lease said Released")
		}
		rival.mustBeRefusedBy(h)
		if reply := h.renew(long); !reply.Held {
			c.Errorf("Renew() = %+v after another owner's Release, want held", reply)
		}
	}},

	{"Release never touches a foreign value", with(foreign), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		c.Foreign(h.key, "worker-7", 0)
		if h.release(0).Released {
			c.Error("Release of a foreign value said Released")
		}
		if reply := c.client(c.B, h.key).ask(long); reply.Granted || reply.Holder != "worker-7" {
			c.Errorf("Acquire() = %+v, want refused by worker-7", reply)
		}
	}},

	{"repeating Release is harmless", always, func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		h.mustRelease()
		if h.release(0).Released {
			c.Error("the second Release said Released")
		}
		next := c.holder(c.B, h.key, long)
		if h.release(0).Released {
			c.Error("Release of the next holder's lease said Released")
		}
		h.mustBeRefusedBy(next)
	}},

	{"KeepClosed keeps the key closed for its time", always, func(c *contract) {
		h, n := c.holder(c.A, c.key("k"), long), c.client(c.B, c.key("k"))
		sent := time.Now()
		if !worked(h.release(c.short)) {
			c.Error("closing Release did not say Released")
		}
		if h.release(0).Released { // repeated, or a clean-up
			c.Error("the second Release said Released")
		}
		if reply := n.ask(long); !reply.Granted && reply.Remaining > c.short+rounding {
			c.Errorf("closed for %v, want at most %v", reply.Remaining, c.short)
		}
		c.within(patience, "granted", func() bool { return n.ask(long).Granted })
		c.notBefore(sent.Add(c.short), "granted")
	}},

	{"KeepClosed refuses the former owner too", always, func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		h.release(long)
		if reply := h.renew(long); reply.Held {
			c.Error("a closed key was renewed")
		}
		if reply := h.ask(long); reply.Granted {
			c.Error("a closed key was granted to its former owner")
		}
	}},

	{"after KeepClosed the head of the queue is granted", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w1, w2 := c.waiter(c.B, h.key, long), c.waiter(c.A, h.key, long)
		sent := time.Now()
		h.release(c.short)
		w1.release(0) // leaves the queue, and must not free the key
		w1.ticket = 0
		newcomer := c.client(c.B, h.key)
		c.within(patience, "head granted", func() bool {
			if newcomer.ask(long).Granted {
				c.Fatal("a newcomer was granted before the head of the queue")
			}
			return w2.join(long).Granted
		})
		c.notBefore(sent.Add(c.short), "head granted")
	}},
}
