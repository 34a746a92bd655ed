package storetest

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var fenceChecks = []check{
	{"tokens rise from holder to holder", always, func(c *contract) {
		rising := c.rising()
		for i := range 20 {
			h := c.client([]lease.Store{c.A, c.B}[i%2], c.key("k"))
			rising(h.mustHold(long))
			rising(h.mustHold(long))
			h.mustRelease()
		}
	}},

	{"tokens rise over a direct grant", with(queue), func(c *contract) {
		rising := c.rising()
		h := c.client(c.A, c.key("k"))
		rising(h.mustHold(long))
		for i := range 10 {
			w := c.waiter([]lease.Store{c.B, c.A}[i%2], h.key, long)
			h.mustRelease()
			rising(w.mustHold(long))
			h = w
		}
	}},

	{"tokens rise over expiry", always, func(c *contract) {
		rising := c.rising()
		rising(c.client(c.A, c.key("k")).mustHold(c.short))
		n := c.client(c.B, c.key("k"))
		c.within(patience, "granted", func() bool {
			reply := n.ask(long)
			if reply.Granted {
				rising(reply)
			}
			return reply.Granted
		})
	}},

	{"tokens rise over a vanished lease", with(vanish), func(c *contract) {
		rising := c.rising()
		for range 5 {
			rising(c.client(c.A, c.key("k")).mustHold(long))
			c.Vanish(c.key("k"))
			rising(c.client(c.B, c.key("k")).mustHold(long))
			c.Vanish(c.key("k"))
		}
	}},

	{"tokens rise over times in which readers held the key", always, func(c *contract) {
		rising := c.rising()
		for i := range 5 {
			w := c.client([]lease.Store{c.A, c.B}[i%2], c.key("k"))
			rising(w.acquire(lease.AcquireRequest{TTL: long, TokenCount: 100}))
			w.mustRelease()
			r1, r2 := c.reader(c.A, w.key), c.reader(c.B, w.key)
			r1.acquire(lease.AcquireRequest{TTL: long, TokenCount: 100}) // gets none, whatever it requests
			r2.mustHold(long)
			r1.mustRelease()
			r2.mustRelease()
		}
	}},

	{"tokens rise over the loss of all data", with(flush), func(c *contract) {
		rising := c.rising()
		rising(c.client(c.A, c.key("k")).mustHold(long))
		c.Flush()
		// A range starts at the clock, it does not end there.
		rising(c.client(c.B, c.key("k")).acquire(lease.AcquireRequest{TTL: long, TokenCount: 10_000}))
		time.Sleep(20 * time.Millisecond) // the range may be 10 ms ahead of the clock
		c.Flush()
		rising(c.client(c.A, c.key("k")).mustHold(long))
	}},

	{"tokens of ranges are disjoint and rise", always, func(c *contract) {
		rising := c.rising()
		h := c.client(c.A, c.key("k"))
		for _, n := range []int{1, 7, 1, 200, 3000, 1, 50_000, 1, 2} {
			rising(h.acquire(lease.AcquireRequest{TTL: long, TokenCount: n}))
			h.mustRelease()
			h = c.client(c.B, c.key("k"))
		}
	}},

	{"tokens of ranges that are kept rise, and those after them", always, func(c *contract) {
		rising := c.rising()
		h := c.client(c.A, c.key("k"))
		for i, n := range []int{1, 7, 1, 200, 3000, 1, 50_000, 10_000, 1, 2} {
			rising(h.acquire(lease.AcquireRequest{TTL: long, TokenCount: n, KeepUnused: true}))
			h.mustRelease()
			h = c.client([]lease.Store{c.B, c.A}[i%2], h.key)
		}
	}},

	{"tokens never run more than 10 ms ahead of the server's clock", always, func(c *contract) {
		// True since servers under test share our clock.
		h := c.client(c.A, c.key("k"))
		for i, n := range []int{1, 1_000_000, 1_000_000, 5000, 1_000_000, 5000} {
			if i > 3 {
				h.mustRelease()
				h = c.client(c.A, h.key)
			}
			reply := h.acquire(lease.AcquireRequest{TTL: long, TokenCount: n, KeepUnused: i > 3})
			last := reply.Fence + int64(reply.TokenCount) - 1
			// At least one is minted at each call, whatever the clock.
			limit := time.Now().Add(10*time.Millisecond).UnixMicro() + 10
			if last > limit {
				c.Errorf("%d asked: tokens run to %d, %d µs too far", n, last, last-limit)
			}
		}
	}},
}

// rising returns a function that checks each grant against all earlier ones.
func (c *contract) rising() func(lease.AcquireReply) {
	var last int64
	return func(reply lease.AcquireReply) {
		c.Helper()
		if reply.Fence <= last {
			c.Errorf("token %d after %d", reply.Fence, last)
		}
		last = reply.Fence + int64(reply.TokenCount) - 1
	}
}
