package engine

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// woken is called by the store when c should ask again, or need not: g may say
// enough of a grant for the waiter to start at once. It reports whether it does.
func (c *contender) woken(g lease.Grant) (taken bool) {
	c.l.e.mu.Lock()
	defer c.l.e.mu.Unlock()
	taken = c.startNowLocked(g)
	c.lookLocked()
	return taken
}

// startNowLocked begins the tenure on the strength of the wake-up alone, and so
// saves the round trip in which the contender would hear the same: the lease is
// ours for the reservation from g.Since on, at least. The first renewal, soon,
// makes it last; most short runs are over before. It reports false if the store had better be asked:
//
//   - a call is under way; its reply may know better;
//   - several wait here: the tenure needs tokens for them;
//   - what is proven of the reservation would be over before renewals had their chance.
//
// Trust never exceeds what a renewal sent from now on would give, as that one may
// shorten a claim that is longer than the TTL.
func (c *contender) startNowLocked(g lease.Grant) bool {
	l := c.l
	if g.Fence == 0 || !c.resting || len(l.waiters) != 1 {
		return false
	}
	w, now := l.waiters[0], time.Now()
	t := newTenure(l, c, w.opt, lease.AcquireReply{Fence: g.Fence, TokenCount: 1})
	t.extendLocked(g.Since, min(c.reservation, now.Sub(g.Since)+w.opt.TTL))
	left := t.trustLeft(now)
	if left < min(c.reservation, w.opt.TTL)/reservationRest {
		return false
	}
	c.resting, c.relieved = false, true
	t.grantedLocked(w, now.Add(min(confirmAfter, left/3)))
	return true
}

// lookLocked wakes the contender.
func (c *contender) lookLocked() {
	c.nudged = true
	select {
	case c.nudge <- struct{}{}: // never, as long as there is no channel
	default:
	}
}
