package storetest

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Which owners may hold a key at once.
var limitChecks = []check{
	{"a limit above one is refused for good where it cannot be kept, with a reason", with(noLimit), func(c *contract) {
		h := c.limited(c.A, c.key("k"), 2)
		reply, err := c.A.Acquire(c.ctx, lease.AcquireRequest{Key: h.key, Owner: h.owner, Limit: h.limit, TTL: long, Join: true, TokenCount: 1})
		if reply.Granted || !errors.Is(err, lease.ErrRefused) || !strings.Contains(err.Error(), "Limit(2)") {
			c.Errorf("Acquire() = %+v, %v; want refused, naming the limit", reply, err)
		}
		if renewed := c.A.Renew(c.ctx, []lease.RenewRequest{h.renewal(long)})[0]; renewed.Held || !errors.Is(renewed.Err, lease.ErrRefused) {
			c.Errorf("Renew() = %+v, want refused", renewed)
		}
		c.holder(c.B, h.key, long)
	}},

	{"several readers hold a key at once", always, func(c *contract) {
		var readers []*client
		for i := range 6 {
			r := c.reader([]lease.Store{c.A, c.B}[i%2], c.key("k"))
			r.mustHold(long)
			readers = append(readers, r)
		}
		c.mustBeHolders(readers...)
		for _, r := range readers {
			r.mustRelease()
		}
		c.mustNotBeHolders(readers...)
	}},

	{"an exclusive owner is refused until the last reader has left", always, func(c *contract) {
		r1, r2, r3 := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k")), c.reader(c.B, c.key("k"))
		r1.mustHold(long)
		r2.mustHold(long)
		r3.mustHold(long)
		for _, store := range []lease.Store{c.A, c.B} {
			c.wantRemaining(c.client(store, r1.key).mustBeRefused(r1, r2, r3), long)
		}
		r1.mustRelease()
		c.client(c.A, r1.key).mustBeRefused(r2, r3)
		r3.mustRelease()
		c.client(c.B, r1.key).mustBeRefused(r2)
		r2.mustRelease()
		c.holder(c.A, r1.key, long)
	}},

	{"an exclusive owner keeps all others out, whatever their limit", always, func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		for _, limit := range c.allowed(lease.Shared, 1, 2, 1000) {
			for _, store := range []lease.Store{c.A, c.B} {
				c.wantRemaining(c.limited(store, h.key, limit).mustBeRefusedBy(h), long)
			}
		}
		c.mustBeHolders(h)
		h.mustRelease()
		c.reader(c.B, h.key).mustHold(long)
	}},

	{"a limit admits as many holders and no more", with(limit), func(c *contract) {
		const n = 3
		var holders []*client
		for i := range n {
			h := c.limited([]lease.Store{c.A, c.B}[i%2], c.key("k"), n)
			h.mustHold(long)
			holders = append(holders, h)
		}
		for i := range 2 * n { // each permit goes to another owner in turn
			c.limited(c.A, c.key("k"), n).mustBeRefused(holders...)
			next := c.limited([]lease.Store{c.B, c.A}[i%2], c.key("k"), n)
			next.mustBeRefused(holders...)
			c.mustBeHolders(holders...)
			holders[0].mustRelease()
			next.mustHold(long)
			holders = append(holders[1:], next)
		}
	}},

	{"a limit of one fits with no other holder, in either order", always, func(c *contract) {
		h := c.limited(c.A, c.key("k"), 1)
		h.mustHold(long)
		for _, limit := range c.allowed(lease.Exclusive, lease.Shared, 1, 2) {
			c.wantRemaining(c.limited(c.B, h.key, limit).mustBeRefused(h), long)
		}
		h.mustRelease()
		r := c.reader(c.B, h.key)
		r.mustHold(long)
		h.mustBeRefused(r)
	}},

	{"of different limits the strictest counts, in any order of arrival", with(limit), func(c *contract) {
		threes := []*client{c.limited(c.A, c.key("k"), 3), c.limited(c.B, c.key("k"), 3), c.limited(c.A, c.key("k"), 3)}
		two := c.limited(c.B, c.key("k"), 2)

		threes[0].mustHold(long)
		threes[1].mustHold(long)
		two.mustBeRefused(threes[:2]...) // it fits with one other
		threes[1].mustRelease()
		two.mustHold(long)
		threes[1].mustBeRefused(threes[0], two)
		threes[2].mustBeRefused(threes[0], two)
		threes[0].mustRelease()
		threes[1].mustHold(long)
		threes[2].mustBeRefused(threes[1], two)
		two.mustRelease() // and with it its limit
		threes[0].mustHold(long)
		threes[2].mustHold(long)
		c.limited(c.B, c.key("k"), 3).mustBeRefused(threes...)
	}},

	{"a limit counts readers, in either order of arrival", with(limit), func(c *contract) {
		r1, r2, r3 := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k")), c.reader(c.A, c.key("k"))
		two, three := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 3)

		r1.mustHold(long)
		r2.mustHold(long)
		two.mustBeRefused(r1, r2)
		three.mustHold(long)
		r3.mustBeRefused(r1, r2, three)
		three.mustRelease()
		r3.mustHold(long)
		for _, r := range []*client{r1, r2, r3} {
			r.mustRelease()
		}

		two.mustHold(long)
		r1.mustHold(long)
		r2.mustBeRefused(two, r1)
		two.mustRelease()
		r2.mustHold(long)
		r3.mustHold(long)
	}},

	{"an owner that has a permit is recognised and keeps that one", with(limit), func(c *contract) {
		h1, h2, h3 := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 2), c.limited(c.A, c.key("k"), 2)
		h1.mustHold(patience / 2)
		h1.store = c.B // in either process
		h1.mustHold(long)
		h2.mustHold(long)
		h1.mustHold(long) // though no permit is free
		h2.mustHold(long)
		c.wantRemaining(c.client(c.A, h1.key).mustBeRefused(h1, h2), long)
		h3.mustBeRefused(h1, h2)
		h2.mustRelease()
		h3.mustHold(long)
		h1.mustRelease()
		h3.mustRelease()
		c.holder(c.B, h1.key, long) // no owner had two permits
	}},

	{"a reader that asks again has its TTL refreshed", always, func(c *contract) {
		r := c.reader(c.A, c.key("k"))
		r.mustHold(patience / 2)
		r.mustHold(long)
		c.wantRemaining(c.client(c.B, r.key).mustBeRefused(r), long)
	}},

	{"without Join a refused owner leaves no trace, whatever its limit", with(queue), func(c *contract) {
		r, h := c.reader(c.A, c.key("readers")), c.holder(c.A, c.key("exclusive"), long)
		r.mustHold(long)
		if reply := c.client(c.B, r.key).mustBeRefused(r); reply.Ticket != 0 {
			c.Errorf("ticket %d without Join", reply.Ticket)
		}
		passing := c.reader(c.B, r.key)
		passing.mustHold(long) // no exclusive owner waits
		passing.mustRelease()
		r.mustRelease()
		c.holder(c.A, r.key, long)

		if reply := c.reader(c.B, h.key).mustBeRefusedBy(h); reply.Ticket != 0 {
			c.Errorf("ticket %d without Join", reply.Ticket)
		}
		h.mustRelease()
		c.holder(c.A, h.key, long) // no reader was granted

		one, other := c.limited(c.A, c.key("limit"), 1), c.limited(c.B, c.key("limit"), 1)
		one.mustHold(long)
		other.mustBeRefused(one)
		one.mustRelease()
		c.holder(c.B, one.key, long)
	}},

	{"Remaining for an exclusive owner is when the last of several leases ends", always, func(c *contract) {
		for _, ttls := range [][2]time.Duration{{long, long / 2}, {long / 2, long}} {
			key := c.key(ttls[0].String())
			r1, r2 := c.reader(c.A, key), c.reader(c.B, key)
			r1.mustHold(ttls[0])
			r2.mustHold(ttls[1])
			c.wantRemaining(c.client(c.A, key).mustBeRefused(r1, r2), long)
		}
	}},

	{"Remaining for a waiter with a limit is when the first permit becomes free", with(limit), func(c *contract) {
		h1, h2 := c.limited(c.A, c.key("k"), 2), c.limited(c.B, c.key("k"), 3)
		h1.mustHold(long)
		h2.mustHold(long / 2)
		c.wantRemaining(c.reader(c.A, h1.key).mustBeRefused(h1, h2), long/2)
		c.wantRemaining(c.limited(c.B, h1.key, 2).mustBeRefused(h1, h2), long/2)
	}},

	{"Remaining for a stricter limit is when enough leases have ended", with(limit), func(c *contract) {
		r1, r2 := c.reader(c.A, c.key("k")), c.reader(c.B, c.key("k"))
		r1.mustHold(long)
		r2.mustHold(long / 2)
		c.wantRemaining(c.limited(c.A, r1.key, 2).mustBeRefused(r1, r2), long/2)
		c.wantRemaining(c.limited(c.B, r1.key, 1).mustBeRefused(r1, r2), long)
	}},
}

// allowed are those of limits that the store does not refuse.
func (c *contract) allowed(limits ...lease.Limit) []lease.Limit {
	return slices.DeleteFunc(limits, func(l lease.Limit) bool { return l > 1 && c.NoLimit })
}
