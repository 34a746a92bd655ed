package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// tickChecks prove the contract of a [lease.TickStore].
var tickChecks = []check{
	{"a key without a tick has the zero Tick", with(ticks), func(c *contract) {
		if last := c.lastTick(c.A, c.key("k")); last != (lease.Tick{}) {
			c.Errorf("LastTick() = %+v, want none", last)
		}
	}},

	{"a tick is claimed once, through either store", with(ticks), func(c *contract) {
		first := c.claimant(c.A, c.key("k"), aTick)
		first.mustClaim()
		c.claimant(c.B, first.Key, aTick).mustBeRefused(first, false)
		c.claimant(c.A, first.Key, aTick).mustBeRefused(first, false)
	}},

	{"of many claims at once one is granted", with(ticks), func(c *contract) {
		const rounds, rivals = 20, 8
		for round := range rounds {
			var won atomic.Int32
			var wg sync.WaitGroup
			for i := range rivals {
				n := c.claimant([]lease.Store{c.A, c.B}[i%2], c.key("k"), aTick.Add(time.Duration(round)*time.Second))
				wg.Go(func() {
					if reply, err := n.ticks.ClaimTick(c.ctx, n.TickRequest); err != nil {
						c.Error(err)
					} else if reply.Claimed {
						won.Add(1)
					}
				})
			}
			wg.Wait()
			if n := won.Load(); n != 1 {
				c.Fatalf("%d claims of one tick were granted", n)
			}
		}
	}},

	{"a later tick is claimed, an earlier one never", with(ticks), func(c *contract) {
		key := c.key("k")
		c.claimant(c.A, key, aTick).mustClaim()
		later := c.claimant(c.B, key, aTick.Add(time.Microsecond))
		later.mustClaim()
		early := c.claimant(c.A, key, aTick.Add(-time.Hour))
		early.mustBeRefused(later, false)
		early.Rerun, early.Fence = true, 1<<40
		early.mustBeRefused(later, false)
		c.claimant(c.B, key, aTick).mustBeRefused(later, false)
	}},

	{"a claim whose reply was lost can be repeated until it is done", with(ticks), func(c *contract) {
		n := c.claimant(c.A, c.key("k"), aTick)
		n.mustClaim()
		n.mustClaim()
		n.mustEnd(time.Time{})
		n.mustBeRefused(n, true)
	}},

	{"an unfinished tick is claimed again by a rerun under a higher token", with(ticks), func(c *contract) {
		first := c.claimant(c.A, c.key("k"), aTick)
		first.Fence = 7
		first.mustClaim()
		next := c.claimant(c.B, first.Key, aTick)
		next.Fence = 8
		next.mustBeRefused(first, false) // without Rerun
		next.Rerun = true
		for _, fence := range []int64{0, 6, 7} {
			next.Fence = fence
			next.mustBeRefused(first, false)
		}
		next.Fence = 8
		next.mustClaim()
		if first.end(time.Time{}) {
			c.Error("the tick was ended by its former claimant")
		}
		if last := c.lastTick(c.A, first.Key); last.Done || last.Owner != next.Owner || last.Fence != 8 {
			c.Errorf("LastTick() = %+v, want the rerun's, not done", last)
		}
	}},

	{"with rerun no tick is claimed past one that another owner has not done", with(ticks), func(c *contract) {
		first := c.claimant(c.A, c.key("k"), aTick)
		first.Fence = 7
		first.mustClaim()
		later := c.claimant(c.B, first.Key, aTick.Add(time.Second))
		later.Rerun, later.Fence = true, 8
		later.mustBeRefused(first, false)
		own := c.claimant(c.A, first.Key, aTick.Add(time.Millisecond))
		own.Rerun, own.Fence = true, 7
		own.mustClaim() // of one lease
		later.mustBeRefused(own, false)
		own.mustEnd(time.Time{})
		later.mustClaim()
		plain := c.claimant(c.A, first.Key, aTick.Add(time.Minute))
		plain.Fence = 8
		plain.mustClaim()
	}},

	{"a former holder claims no later tick once the next holder has claimed one", with(ticks), func(c *contract) {
		for _, rerun := range []bool{false, true} {
			for _, done := range []bool{false, true} {
				holder := c.claimant(c.A, c.key(fmt.Sprint("k", rerun, done)), aTick)
				holder.Fence = 8
				holder.mustClaim()
				if done {
					holder.mustEnd(time.Time{})
				}
				stale := c.claimant(c.B, holder.Key, aTick.Add(time.Second))
				stale.Fence, stale.Rerun = 7, rerun
				stale.mustBeRefused(holder, done)
				same := c.claimant(c.A, holder.Key, aTick.Add(time.Second))
				same.Fence, same.Rerun = 8, rerun
				same.mustClaim()
			}
		}
		holder := c.claimant(c.A, c.key("shared"), aTick)
		holder.Fence = 8
		holder.mustClaim()
		c.claimant(c.B, holder.Key, aTick.Add(time.Second)).mustClaim() // without a token
	}},

	{"a tick that is done is never claimed again", with(ticks), func(c *contract) {
		n := c.claimant(c.A, c.key("k"), aTick)
		n.mustClaim()
		n.mustEnd(time.Time{})
		rerun := c.claimant(c.B, n.Key, aTick)
		rerun.Rerun, rerun.Fence = true, 1<<40
		rerun.mustBeRefused(n, true)
		later := c.claimant(c.B, n.Key, aTick.Add(time.Second))
		later.mustClaim()
		if n.end(time.Time{}) {
			c.Error("an earlier tick was ended")
		}
		if last := c.lastTick(c.A, n.Key); last.Done {
			c.Errorf("LastTick() = %+v: ended by the claimant of an earlier tick", last)
		}
	}},

	{"a tick can end through a later one, never through an earlier one", with(ticks), func(c *contract) {
		n := c.claimant(c.A, c.key("k"), aTick)
		n.mustClaim()
		n.mustEnd(aTick.Add(time.Minute))
		n.At = aTick.Add(time.Minute)
		c.claimant(c.B, n.Key, aTick.Add(time.Second)).mustBeRefused(n, true)
		c.claimant(c.B, n.Key, aTick.Add(time.Minute)).mustBeRefused(n, true)
		next := c.claimant(c.B, n.Key, aTick.Add(time.Hour))
		next.mustClaim()
		next.mustEnd(aTick)
		c.claimant(c.A, n.Key, aTick.Add(time.Hour)).mustBeRefused(next, true)
	}},

	{"a tick ends through no tick that has not settled by the store's clock", with(ticks), func(c *contract) {
		const settled = time.Hour
		before := time.Now()
		n := c.claimant(c.A, c.key("k"), before.Add(-2*settled))
		n.mustClaim()
		ended, err := n.ticks.EndTick(c.ctx, lease.TickEnd{Key: n.Key, Owner: n.Owner, At: n.At, Through: before.AddDate(1, 0, 0), Settled: settled})
		if err != nil || !ended {
			c.Fatalf("EndTick() = %t, %v", ended, err)
		}
		last := c.lastTick(c.B, n.Key)
		if age := time.Since(last.At); !last.Done || age < settled-time.Minute || last.At.Before(before.Add(-settled-time.Minute)) {
			c.Errorf("LastTick() = %+v, want one done, %v ago", last, settled)
		}

		recent := c.claimant(c.A, c.key("recent"), before)
		recent.mustClaim()
		if ended, err := recent.ticks.EndTick(c.ctx, lease.TickEnd{Key: recent.Key, Owner: recent.Owner, At: recent.At, Through: before.AddDate(1, 0, 0), Settled: settled}); err != nil || !ended {
			c.Fatalf("EndTick() = %t, %v", ended, err)
		}
		if last := c.lastTick(c.B, recent.Key); !last.Done || last.At.UnixMicro() != recent.At.UnixMicro() {
			c.Errorf("LastTick() = %+v, want the tick of %v, done", last, recent.At)
		}
	}},

	{"a claim that passes over ticks is remembered until the next such", with(ticks), func(c *contract) {
		since := func(want time.Time) {
			c.Helper()
			if last := c.lastTick(c.B, c.key("k")); !last.Since.Equal(want) {
				c.Errorf("LastTick() = %+v, want a gap before %v", last, want)
			}
		}
		for i, gap := range []bool{true, false, true, false} { // before the first tick there is nothing
			n := c.claimant(c.A, c.key("k"), aTick.Add(time.Duration(i)*time.Hour))
			n.Gap = gap
			n.mustClaim()
			n.mustClaim()
			n.mustEnd(n.At.Add(time.Minute))
			if i < 2 {
				since(time.Time{})
			} else {
				since(aTick.Add(2 * time.Hour))
			}
		}
		refused := c.claimant(c.B, c.key("k"), aTick)
		refused.Gap = true
		if refused.claim().Claimed {
			c.Error("an earlier tick was claimed")
		}
		since(aTick.Add(2 * time.Hour))
	}},

	{"a dead tick is done, and remembered until the next", with(ticks), func(c *contract) {
		for i := range 4 {
			n := c.claimant(c.A, c.key("k"), aTick.Add(time.Duration(i)*time.Hour))
			n.mustClaim()
			if !n.endAs(lease.TickEnd{Dead: i%2 == 1}) {
				c.Fatal("the tick was not ended")
			}
			n.mustBeRefused(n, true)
			want := time.Time{}
			if i > 0 {
				want = aTick.Add(time.Duration(i-1+i%2) * time.Hour)
			}
			if last := c.lastTick(c.B, n.Key); !last.Dead.Equal(want) {
				c.Errorf("LastTick() = %+v, want %v dead", last, want)
			}
		}
	}},

	{"a tick too far ahead of the store's clock is refused", with(ticks), func(c *contract) {
		n := c.claimant(c.A, c.key("k"), time.Now().Add(time.Hour))
		n.MaxAhead = time.Minute
		reply := n.claim()
		if reply.Claimed || reply.Ahead < 50*time.Minute || reply.Ahead > 70*time.Minute {
			c.Errorf("ClaimTick() = %+v, want refused as an hour ahead", reply)
		}
		if last := c.lastTick(c.A, n.Key); !last.At.IsZero() {
			c.Errorf("LastTick() = %+v after a refusal, want none", last)
		}
		n.MaxAhead = 2 * time.Hour
		n.mustClaim()
	}},

	{"ticks and leases do not affect each other, whatever the key", with(ticks), func(c *contract) {
		keys := append(c.hardKeys(), "tick:"+c.run, "tick:{"+c.run+"}", "tick:{0}:"+c.run, c.run+":tick:{0}:k")
		for i, key := range keys {
			h := c.holder(c.A, key, long)
			n := c.claimant(c.A, key, aTick.Add(time.Duration(i)*time.Hour))
			n.mustClaim()
			c.client(c.B, key).mustBeRefusedBy(h)
			h.mustRelease()
		}
		for i, key := range keys {
			if last := c.lastTick(c.B, key); !last.At.Equal(aTick.Add(time.Duration(i) * time.Hour)) {
				c.Errorf("LastTick(%q) = %+v, want that of %d hours", key, last, i)
			}
			c.holder(c.B, key, long)
		}
	}},

	{"calls about ticks return when their context ends", with(ticks), func(c *contract) {
		ctx, cancel := context.WithCancel(c.ctx)
		cancel()
		n := c.claimant(c.A, c.key("k"), aTick)
		if _, err := n.ticks.ClaimTick(ctx, n.TickRequest); err == nil {
			c.Error("ClaimTick with a context that has ended gave no error")
		}
		if _, err := n.ticks.LastTick(ctx, n.Key); err == nil {
			c.Error("LastTick with a context that has ended gave no error")
		}
		if _, err := n.ticks.EndTick(ctx, lease.TickEnd{Key: n.Key, Owner: n.Owner, At: n.At}); err == nil {
			c.Error("EndTick with a context that has ended gave no error")
		}
		if last := c.lastTick(c.B, n.Key); !last.At.IsZero() {
			c.Errorf("LastTick() = %+v, want none", last)
		}
	}},
}

// aTick is a tick's scheduled time: in the past, also under testing/synctest, where
// it is the year 2000.
var aTick = time.Date(1996, 2, 29, 12, 30, 0, 0, time.UTC)

func (c *contract) lastTick(store lease.Store, key string) lease.Tick {
	c.Helper()
	last, err := ticksOf(store).LastTick(c.ctx, key)
	if err != nil {
		c.Fatalf("LastTick(%q): %v", key, err)
	}
	return last
}

// ticksOf is for checks with ticks.
func ticksOf(store lease.Store) lease.TickStore {
	ticks, _ := store.(lease.TickStore)
	return ticks
}

// claimant is one run that asks for a tick.
type claimant struct {
	c     *contract
	ticks lease.TickStore
	lease.TickRequest
}

func (c *contract) claimant(store lease.Store, key string, at time.Time) *claimant {
	return &claimant{c: c, ticks: ticksOf(store), TickRequest: lease.TickRequest{
		Key: key, Owner: store.NewOwner(""), At: at, MaxAhead: -1,
	}}
}

func (n *claimant) claim() lease.TickReply {
	n.c.Helper()
	reply, err := n.ticks.ClaimTick(n.c.ctx, n.TickRequest)
	if err != nil {
		n.c.Fatalf("ClaimTick(%q): %v", n.Key, err)
	}
	return reply
}

func (n *claimant) mustClaim() {
	n.c.Helper()
	if reply := n.claim(); !reply.Claimed {
		n.c.Fatalf("ClaimTick(%v) = %+v, want claimed", n.At, reply)
	}
	if last := n.c.lastTick(n.c.B, n.Key); last.Done || last.Owner != n.Owner || last.Fence != n.Fence || last.At.UnixMicro() != n.At.UnixMicro() {
		n.c.Errorf("LastTick() = %+v after the claim of %+v", last, n.TickRequest)
	}
}

// mustBeRefused wants other's tick as the last one.
func (n *claimant) mustBeRefused(other *claimant, done bool) {
	n.c.Helper()
	reply := n.claim()
	if last := reply.Last; reply.Claimed || last.Owner != other.Owner || !last.At.Equal(other.At) || last.Done != done || last.Fence != other.Fence {
		n.c.Errorf("ClaimTick(%v) = %+v, want refused by %v of %s, done %t", n.At, reply, other.At, other.Owner, done)
	}
}

func (n *claimant) end(through time.Time) bool {
	n.c.Helper()
	return n.endAs(lease.TickEnd{Through: through})
}

// endAs ends the tick with the rest of e.
func (n *claimant) endAs(e lease.TickEnd) bool {
	n.c.Helper()
	e.Key, e.Owner, e.At = n.Key, n.Owner, n.At
	ended, err := n.ticks.EndTick(n.c.ctx, e)
	if err != nil {
		n.c.Fatalf("EndTick(%q): %v", n.Key, err)
	}
	return ended
}

func (n *claimant) mustEnd(through time.Time) {
	n.c.Helper()
	if !n.end(through) {
		n.c.Fatalf("EndTick(%v) = false, want ended", n.At)
	}
}
