package queue

import (
	"context"

	"github.com/jobguard/jobguard/guard/lease"
)

// A trial is one attempt of a caller that shares a key, beside the candidate whose first
// attempt is under way: callers that the store can grant together do not wait for each
// other. It takes no place in the store's queue. What it brings goes to the first waiter,
// since grants under one limit are all the same.

// mayTryLocked reports whether one more caller should try for itself: nothing is known
// to be in the way, and all attempts under way could bring a lease for somebody else.
func (l *local) mayTryLocked() bool {
	c := l.candidate
	return l.limit != lease.Exclusive && c != nil && !c.knowsObstacle() && c.ticket == 0 && l.waiters.n > l.trials+1
}

// tryLocked prepares c for a trial.
func (l *local) tryLocked(c *candidate) *candidate {
	c.initLocked(l)
	c.trying = true
	l.trials++
	return c
}

// try asks once: on the goroutine of the caller, for which w waits, if the store is near
// enough, and else on one of its own, which ends with the attempt.
func (c *candidate) try(ctx context.Context, w *waiter) {
	if c.near() {
		if _, on := c.attemptOf(ctx, w); on {
			c.triedInVain()
		}
		return
	}
	k := c.l.keeper()
	k.Go(func() {
		attempt := lease.NewPatientAttempt(k.Context(), c.timeout())
		defer attempt.End()
		if _, on := c.attempt(attempt, false); on {
			c.triedInVain()
		}
	})
}

func (c *candidate) triedInVain() {
	l := c.l
	l.keeper().Lock()
	c.endLocked()
	if l.needsCandidateLocked() {
		l.startLocked(new(candidate)).spawnLocked(0)
	}
	if own := l.candidate; c.heard && own != nil {
		if !own.knowsObstacle() {
			own.lastReply = c.lastReply
		}
		l.refuseTriesLocked()
	}
	l.dropLocked()
	l.keeper().Unlock()
	c.leave()
}
