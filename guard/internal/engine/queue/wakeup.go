package queue

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Woken implements [lease.Waker]: it is called by the store when c should ask again, or
// need not, as g may say enough of a grant for the waiter to start at once. It reports
// whether it does.
func (c *candidate) Woken(g lease.Grant) (taken bool) {
	c.l.keeper().Lock()
	defer c.l.keeper().Unlock()
	taken = c.startNowLocked(g)
	c.nudgeLocked()
	return taken
}

// startNowLocked begins the lease on the strength of the wake-up alone, and so
// saves the round trip in which the candidate would learn the same: the lease is
// ours for the reservation from g.Since on, at least. The first renewal, soon,
// makes it last; most short runs are over before. It reports false if the store
// must be asked:
//
//   - a call is under way; its reply may know better;
//   - several wait here: the lease needs tokens for them;
//   - MinHold is longer than the reservation;
//   - what is proven of the reservation would be over before renewals had their
//     chance.
//
// Trust never exceeds what a renewal sent from now on would give, as that one may
// shorten a reservation that is longer than the TTL.
func (c *candidate) startNowLocked(g lease.Grant) bool {
	l := c.l
	if g.Fence == 0 || !c.resting || l.waiters.n != 1 {
		return false
	}
	w, now := l.waiters.first, time.Now()
	if w.opt.MinHold > c.place.Reservation {
		return false
	}
	granted := l.newLease(c.grant(g.Fence, 1), w.opt.Terms)
	left := granted.ExtendLocked(g.Since, min(c.place.Reservation, now.Sub(g.Since)+w.opt.TTL))
	if left < min(c.place.Reservation, w.opt.TTL)/reservationRest {
		return false
	}
	c.resting, c.relieved = false, true
	c.endLocked()
	l.grantedLocked(granted, now.Add(min(confirmAfter, left/3)))
	return true
}
