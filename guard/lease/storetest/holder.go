package storetest

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// holderChecks are for a store that is a [lease.HolderFinder].
var holderChecks = []check{
	{"a free key has no holder, and stays free", with(finder), func(c *contract) {
		key := c.key("k")
		if h := c.findHolder(key); h != (lease.Holder{}) {
			c.Errorf("%+v of a free key", h)
		}
		c.holder(c.B, key, long)
	}},

	{"the holder is named with its process, its metadata and what remains", with(finder), func(c *contract) {
		h := c.client(c.A, c.key("k"))
		h.owner = c.A.NewOwner("trace")
		h.mustHold(long)
		got := c.findHolder(h.key)
		want := lease.HolderOf(h.owner, got.Remaining)
		if got != want || got.Owner == "" || got.Process == "" || got.Metadata != "trace" {
			c.Errorf("%+v, want %+v", got, want)
		}
		c.wantRemaining(lease.AcquireReply{Remaining: got.Remaining}, long)
		h.mustRelease()
		if got := c.findHolder(h.key); got.Owner != "" {
			c.Errorf("%+v after the release", got)
		}
	}},

	{"of several holders any is named", with(finder), func(c *contract) {
		key := c.key("k")
		r1, r2 := c.reader(c.A, key), c.reader(c.B, key)
		r1.mustHold(long)
		r2.mustHold(long)
		if got := c.findHolder(key); got.Owner != lease.OwnerName(r1.owner) && got.Owner != lease.OwnerName(r2.owner) {
			c.Errorf("%+v", got)
		}
	}},

	{"a key that is kept closed has its last owner's name and no process", with(finder), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		h.release(long)
		if got := c.findHolder(h.key); got.Owner != lease.OwnerName(h.owner) || got.Process != "" || got.Remaining <= 0 {
			c.Errorf("%+v", got)
		}
	}},

	{"another program's value is the holder, with no time if it never expires", with(finder, foreign), func(c *contract) {
		c.Foreign(c.key("k"), "worker-7", 0)
		if got := c.findHolder(c.key("k")); got.Owner != "worker-7" || got.Remaining >= 0 {
			c.Errorf("%+v", got)
		}
		c.Foreign(c.key("l"), "worker-8", time.Minute)
		if got := c.findHolder(c.key("l")); got.Owner != "worker-8" || got.Remaining <= 0 {
			c.Errorf("%+v", got)
		}
	}},
}

func (c *contract) findHolder(key string) lease.Holder {
	c.Helper()
	finder, _ := c.A.(lease.HolderFinder)
	h, err := finder.FindHolder(c.ctx, key)
	if err != nil {
		c.Fatal(err)
	}
	return h
}
