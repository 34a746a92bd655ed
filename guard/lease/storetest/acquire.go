package storetest

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var acquireChecks = []check{
	{"a free key without waiters is granted", always, func(c *contract) {
		c.holder(c.A, c.key("a"), long)
		c.holder(c.B, c.key("b"), long)
	}},

	{"a held key is refused, with the holder and its remaining time", always, func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		for _, store := range []lease.Store{c.A, c.B} {
			c.wantRemaining(c.client(store, h.key).mustBeRefusedBy(h), long)
		}
	}},

	{"a key held by the owner already: the TTL is refreshed and tokens are minted", always, func(c *contract) {
		h := c.client(c.A, c.key("k"))
		first := h.mustHold(patience / 2)
		again := h.mustHold(long)
		if again.Fence <= first.Fence {
			c.Errorf("token %d after %d, want a higher one", again.Fence, first.Fence)
		}
		c.wantRemaining(c.client(c.B, h.key).mustBeRefusedBy(h), long)
	}},

	{"an owner is recognised through either store", always, func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		h.store = c.B
		h.mustHold(long)
		h.mustRelease()
	}},

	{"a delayed request with a short TTL does not shorten the owner's lease", always, func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		h.mustHold(patience)
		c.wantRemaining(c.client(c.B, h.key).mustBeRefusedBy(h), long)
	}},

	{"a lease lives for its TTL and no longer", always, func(c *contract) {
		h, rival := c.client(c.A, c.key("k")), c.client(c.B, c.key("k"))
		sent := time.Now()
		h.mustHold(c.short)
		c.within(patience, "rival granted", func() bool { return rival.ask(long).Granted })
		c.notBefore(sent.Add(c.short), "rival granted")
		if reply := h.renew(long); reply.Held {
			c.Error("the expired lease was renewed")
		}
	}},

	{"without Join an owner does not join the queue", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		passing := c.client(c.B, h.key)
		if reply := passing.mustBeRefusedBy(h); reply.Ticket != 0 {
			c.Errorf("ticket %d without Join", reply.Ticket)
		}
		h.mustRelease()
		c.holder(c.A, h.key, long)
	}},

	{"without Join no waiter's place changes", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w := c.waiter(c.B, h.key, long)
		c.client(c.A, h.key).mustBeRefusedBy(h)
		h.mustRelease()
		c.client(c.A, h.key).mustBeRefusedBy(w)
	}},

	{"a foreign value excludes and is reported as it is", with(foreign), func(c *contract) {
		key := c.key("k")
		for _, value := range []string{"worker-7", "", "a|b", "1:2|x|y|z", "с кем-то \x00 \"{}\""} {
			c.Foreign(key, value, long)
			reply, err := c.A.Acquire(c.ctx, lease.AcquireRequest{
				Key: key, Owner: c.A.NewOwner(""), TTL: long, TokenCount: 1,
			})
			if err != nil || reply.Granted || reply.Holder != value {
				c.Errorf("Acquire() = %+v, %v; want refused by %q", reply, err, value)
			}
			c.wantRemaining(reply, long)
		}
	}},

	{"remaining is negative if the holder never expires", with(foreign), func(c *contract) {
		key := c.key("k")
		c.Foreign(key, "worker-7", 0)
		if reply := c.client(c.B, key).ask(long); reply.Granted || reply.Remaining >= 0 {
			c.Errorf("Acquire() = %+v, want refused with negative Remaining", reply)
		}
	}},

	{"a foreign value that expires frees the key", with(foreign), func(c *contract) {
		key := c.key("k")
		set := time.Now()
		c.Foreign(key, "worker-7", c.short)
		n := c.client(c.A, key)
		c.within(patience, "granted", func() bool { return n.ask(long).Granted })
		c.notBefore(set.Add(c.short), "granted")
	}},
}
