package storetest

import (
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var renewChecks = []check{
	{"Renew extends a lease to a full TTL from now", always, func(c *contract) {
		sent := time.Now()
		h := c.holder(c.A, c.key("k"), time.Second)
		if reply := h.renew(long); !reply.Held {
			if time.Since(sent) > time.Second {
				c.Skip("the machine stood still for longer than the TTL")
			}
			c.Fatalf("Renew() = %+v, want held", reply)
		}
		rival := c.client(c.B, h.key)
		c.wantRemaining(rival.mustBeRefusedBy(h), long)
		time.Sleep(time.Until(sent.Add(time.Second + c.short)))
		rival.mustBeRefusedBy(h)
	}},

	{"after Renew with a token all later ones are above it", always, func(c *contract) {
		rising := c.rising()
		h := c.client(c.A, c.key("k"))
		reply := h.acquire(lease.AcquireRequest{TTL: long, TokenCount: 100})
		rising(reply)
		chosen := reply.Fence + 1_000_000 // a second ahead of the clock
		r := h.renewal(long)
		r.Fence = chosen
		if renewed := c.A.Renew(c.ctx, []lease.RenewRequest{r})[0]; renewed.Err != nil || !renewed.Held {
			c.Fatalf("Renew() = %+v, want held", renewed)
		}
		released, err := c.A.Release(c.ctx, lease.ReleaseRequest{ // takes back those it was granted, but not the chosen
			Key: h.key, Owner: h.owner, Place: lease.Place{Reservation: long}, Fence: reply.Fence, LastFence: reply.Fence + int64(reply.TokenCount) - 1,
		})
		if err != nil || !worked(released) {
			c.Fatalf("Release() = %+v, %v", released, err)
		}
		if next := c.client(c.B, h.key).mustHold(long); next.Fence <= chosen {
			c.Errorf("token %d after Renew with %d", next.Fence, chosen)
		}
	}},

	{"Renew with a token does not shorten the lease", always, func(c *contract) {
		h := c.client(c.A, c.key("k"))
		reply := h.mustHold(long)
		r := h.renewal(patience)
		r.Fence = reply.Fence
		if renewed := c.A.Renew(c.ctx, []lease.RenewRequest{r})[0]; renewed.Err != nil || !renewed.Held {
			c.Fatalf("Renew() = %+v, want held", renewed)
		}
		c.wantRemaining(c.client(c.B, h.key).mustBeRefusedBy(h), long)
	}},

	{"a token that Renew brings is kept though a higher one was minted before, and is not taken back", always, func(c *contract) {
		h := c.client(c.A, c.key("k"))
		reply := h.acquire(lease.AcquireRequest{TTL: long, TokenCount: 1000})
		last := reply.Fence + int64(reply.TokenCount) - 1
		r := h.renewal(long)
		r.Fence = last - 1
		if renewed := c.A.Renew(c.ctx, []lease.RenewRequest{r})[0]; renewed.Err != nil || !renewed.Held {
			c.Fatalf("Renew() = %+v, want held", renewed)
		}
		if _, err := c.A.Release(c.ctx, lease.ReleaseRequest{
			Key: h.key, Owner: h.owner, Place: lease.Place{Reservation: long}, Fence: reply.Fence, LastFence: last,
		}); err != nil {
			c.Fatal(err)
		}
		if next := c.client(c.B, h.key).mustHold(long); next.Fence <= r.Fence {
			c.Errorf("token %d after Renew with %d", next.Fence, r.Fence)
		}
	}},

	{"Renew with a token changes nothing for an owner that does not hold the key", always, func(c *contract) {
		h, rival := c.client(c.A, c.key("k")), c.client(c.B, c.key("k"))
		first := h.mustHold(long)
		r := rival.renewal(long)
		r.Fence = first.Fence + 1_000_000_000
		if renewed := c.B.Renew(c.ctx, []lease.RenewRequest{r})[0]; renewed.Err != nil || renewed.Held || renewed.Holder != h.owner {
			c.Errorf("Renew() = %+v, want held by %q", renewed, h.owner)
		}
		h.mustRelease()
		if next := rival.mustHold(long); next.Fence >= r.Fence {
			c.Errorf("token %d: raised by an owner without the key", next.Fence)
		}
	}},

	{"Renew never creates a lease", always, func(c *contract) {
		h := c.client(c.A, c.key("never held"))
		if reply := h.renew(long); reply.Held || reply.Holder != "" {
			c.Errorf("Renew of a free key = %+v, want neither held nor a holder", reply)
		}
		c.holder(c.B, h.key, long)

		h = c.holder(c.A, c.key("released"), long)
		h.mustRelease()
		if reply := h.renew(long); reply.Held || reply.Holder != "" {
			c.Errorf("Renew after release = %+v, want neither held nor a holder", reply)
		}
		c.holder(c.B, h.key, long)
	}},

	{"Renew does not bring back a vanished lease", with(vanish), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		c.Vanish(h.key)
		if reply := h.renew(long); reply.Held || reply.Holder != "" {
			c.Errorf("Renew() = %+v, want neither held nor a holder", reply)
		}
		c.holder(c.B, h.key, long)
	}},

	{"Renew never touches another owner's lease", always, func(c *contract) {
		h := c.holder(c.A, c.key("k"), patience)
		rival := c.client(c.B, h.key)
		if reply := rival.renew(long); reply.Held || reply.Holder != h.owner {
			c.Errorf("Renew() = %+v, want Holder %q", reply, h.owner)
		}
		if reply := rival.mustBeRefusedBy(h); reply.Remaining > patience+rounding {
			c.Errorf("another owner's Renew extended the lease to %v", reply.Remaining)
		}
	}},

	{"Renew names the foreign holder", with(foreign), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		c.Foreign(h.key, "worker-7", 0)
		if reply := h.renew(long); reply.Held || reply.Holder != "worker-7" {
			c.Errorf("Renew() = %+v, want held by worker-7", reply)
		}
		if reply := c.client(c.B, h.key).ask(long); reply.Remaining >= 0 {
			c.Errorf("Renew gave the foreign lease a TTL of %v", reply.Remaining)
		}
	}},

	{"Renew does not make a waiter's place a lease", with(queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		w := c.waiter(c.B, h.key, long)
		if reply := w.renew(long); reply.Held {
			c.Error("a waiter's renewal was answered held")
		}
		h.mustRelease()
		w.mustHold(long)
	}},

	{"Renew answers request i in reply i, one by one", always, func(c *contract) {
		const n = 300
		requests := make([]lease.RenewRequest, n)
		holders := make([]string, n)
		for i := range n {
			key := c.key(fmt.Sprintf("batch %d", i))
			h := c.client(c.A, key)
			switch i % 3 {
			case 0: // held
				h.mustHold(long)
				holders[i] = h.owner
			case 1: // held by another owner
				holders[i] = c.holder(c.B, key, long).owner
			}
			requests[i] = lease.RenewRequest{Key: key, Owner: h.owner, TTL: long}
		}
		replies := c.A.Renew(c.ctx, requests)
		if len(replies) != n {
			c.Fatalf("%d replies to %d requests", len(replies), n)
		}
		for i, reply := range replies {
			held := i%3 == 0
			if reply.Err != nil || reply.Held != held || !held && reply.Holder != holders[i] {
				c.Errorf("reply %d = %+v, want Held %v, Holder %q", i, reply, held, holders[i])
			}
		}
	}},

	{"Renew answers exclusive owners and others in one call", always, func(c *contract) {
		const n = 300
		requests := make([]lease.RenewRequest, n)
		for i := range n {
			key := c.key(fmt.Sprintf("batch %d", i))
			h, limit := c.client(c.A, key), lease.Exclusive
			if i%2 == 0 {
				limit = lease.Shared
			}
			h.limit = limit
			switch i % 5 {
			case 0, 1, 2: // held
				h.mustHold(long)
			case 3: // held by another of the same kind
				c.limited(c.B, key, limit).mustHold(long)
			}
			requests[i] = h.renewal(long)
		}
		replies := c.A.Renew(c.ctx, requests)
		if len(replies) != n {
			c.Fatalf("%d replies to %d requests", len(replies), n)
		}
		for i, reply := range replies {
			if reply.Err != nil || reply.Held != (i%5 < 3) || (reply.Holder != "") != (i%5 == 3) {
				c.Errorf("reply %d = %+v, want Held %v, a holder %v", i, reply, i%5 < 3, i%5 == 3)
			}
		}
	}},

	{"Renew of nothing answers nothing", always, func(c *contract) {
		if replies := c.A.Renew(c.ctx, nil); len(replies) != 0 {
			c.Errorf("Renew(nil) = %v", replies)
		}
	}},
}
