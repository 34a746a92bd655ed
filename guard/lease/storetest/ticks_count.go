package storetest

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// How the runs of a tick are counted.
var tickCountChecks = []check{
	{"a tick counts the owners that claimed it, but not one that left it to the next", with(ticks), func(c *contract) {
		var n *claimant
		for i, want := range []int{1, 2, 3, 3, 4} {
			n = c.claimant([]lease.Store{c.A, c.B}[i%2], c.key("k"), aTick)
			n.Rerun, n.Fence = true, int64(7+i)
			n.mustClaim()
			n.mustClaim() // whose reply was lost
			if last := c.lastTick(c.A, n.Key); last.Attempts != want || last.Left {
				c.Errorf("LastTick() = %+v after claim %d, want %d attempts", last, i+1, want)
			}
			if i != 2 {
				continue
			}
			for range 3 { // whose replies were lost
				n.endAs(lease.TickEnd{Again: true, Through: aTick.Add(time.Hour), Dead: true})
			}
			if last := c.lastTick(c.B, n.Key); last.Done || !last.Left || last.Attempts != want-1 {
				c.Errorf("LastTick() = %+v, want it left to the next owner, with %d attempts", last, want-1)
			}
		}
		n.mustEnd(time.Time{})
		next := c.claimant(c.B, n.Key, aTick.Add(time.Second))
		next.Fence = n.Fence
		next.mustClaim()
		if last := c.lastTick(c.A, n.Key); last.Attempts != 1 || !last.Since.IsZero() || !last.Dead.IsZero() {
			c.Errorf("LastTick() = %+v, want one attempt, no gap, none dead", last)
		}
	}},

	{"a claim that brings a count is counted so, once for each owner", with(ticks), func(c *contract) {
		var n *claimant
		for i, brings := range []int{3, 0, 7, 2} {
			n = c.claimant([]lease.Store{c.A, c.B}[i%2], c.key("k"), aTick)
			n.Rerun, n.Fence, n.Attempts = true, int64(7+i), brings
			n.mustClaim()
			want := []int{3, 4, 7, 2}[i]
			if n.Attempts = 9; i == 3 {
				n.mustClaim() // whose reply was lost
			}
			if last := c.lastTick(c.A, n.Key); last.Attempts != want {
				c.Errorf("LastTick() = %+v after claim %d, want %d attempts", last, i+1, want)
			}
		}
		n.mustEnd(time.Time{})
		next := c.claimant(c.B, n.Key, aTick.Add(time.Second))
		next.Fence, next.Attempts = n.Fence, 2
		next.mustClaim()
		if last := c.lastTick(c.A, n.Key); last.Attempts != 2 {
			c.Errorf("LastTick() = %+v of the next tick, want 2 attempts", last)
		}
	}},
}
