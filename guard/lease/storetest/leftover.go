package storetest

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// What a store keeps of keys that are no longer used. It may take its time, but no
// further request follows.
var leftoverChecks = []check{
	{"nothing is kept of a key that all owners have left", with(kept), func(c *contract) {
		key := c.key("k")
		r1, r2, r3 := c.reader(c.A, key), c.reader(c.B, key), c.reader(c.A, key)
		w1, w2 := c.client(c.B, key), c.client(c.A, key)
		w1.mustHold(long)
		if len(c.Kept(key)) == 0 {
			c.Error("Kept says that nothing is kept of a held key")
		}
		if !c.NoQueue {
			r1.mustWait()
			r2.mustWait()
			w2.mustWait()
			r3.mustWait()
		}
		w1.mustRelease()
		r1.mustHold(long)
		r2.mustHold(long)
		if !c.NoQueue {
			w2.leave()
		}
		r3.mustHold(long)
		r1.mustRelease()
		r3.mustRelease()
		r2.mustRelease()
		c.keepsNothing(key)
	}},

	{"nothing is kept of a limit that all owners have left", with(kept, limit, queue), func(c *contract) {
		key := c.key("k")
		var holders []*client
		for range 2 {
			h := c.limited(c.A, key, 2)
			h.mustHold(long)
			holders = append(holders, h)
		}
		for _, limit := range []lease.Limit{2, 1, lease.Exclusive, lease.Shared} {
			w := c.limited(c.B, key, limit)
			w.mustWait()
			holders = append(holders, w)
		}
		for _, h := range holders {
			h.mustRelease()
		}
		c.keepsNothing(key)
	}},

	{"nothing is kept of permits that expired or were kept closed", with(kept), func(c *contract) {
		c.reader(c.A, c.key("crashed")).mustHold(c.short)
		c.reader(c.B, c.key("crashed")).ask(c.short)
		closed := c.reader(c.A, c.key("closed"))
		closed.mustHold(long)
		closed.release(c.short)
		c.keepsNothing(c.key("crashed"))
		c.keepsNothing(c.key("closed"))
	}},

	{"nothing is kept of a lease and a queue that all owners have left", with(kept, queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w1, w2 := c.waiter(c.B, h.key, long), c.waiter(c.A, h.key, long)
		w1.leave()
		h.mustRelease()
		w2.mustHold(long)
		w2.mustRelease()
		c.keepsNothing(h.key)
	}},
}

func (c *contract) keepsNothing(key string) {
	c.Helper()
	var kept []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if kept = c.Kept(key); len(kept) == 0 {
			return
		}
	}
	c.Errorf("kept for %v after the last had left: %q", patience, kept)
}
