package queue

import (
	"context"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// A caller's own first attempt cannot be broken off. It takes at most this long,
// so a caller that is cancelled while the server stalls is not kept for longer.
// Where so many round trips do not fit, it is not made.
const (
	firstPatience = 100 * time.Millisecond
	firstRTTs     = 8
)

// A caller that finds no candidate starts one, which stands in the store's queue for all
// that come after it. One that finds a candidate whose first attempt is under way may try
// beside it if it shares the key: callers that the store can grant together do not wait for
// each other. A trial is one attempt and takes no place in the store's queue. What it brings
// goes to the first waiter, since grants under one limit are all the same.

// firstLocked returns the candidate through which w asks at once; nil if it has to wait for
// another.
func (l *local) firstLocked(w *waiter) *candidate {
	switch {
	case l.needsCandidateLocked():
		return l.startLocked(&w.candidate)
	case l.mayTryLocked():
		w.candidate.initLocked(l)
		w.candidate.trying = true
		l.trials++
		return &w.candidate
	default:
		return nil
	}
}

// mayTryLocked reports whether one more caller should try for itself: nothing is known
// to be in the way, and all attempts under way could bring a lease for somebody else.
func (l *local) mayTryLocked() bool {
	c := l.candidate
	return !l.exclusive() && c != nil && !c.knowsObstacle() && c.ticket == 0 && l.waiters.n > l.trials+1
}

// first asks once for w: on the goroutine of the caller, if the store is near enough, since
// that is all there is to an uncontended key. What cannot be broken off is short: when the
// store does not answer in time the outcome is left open, and the next attempt finds out.
// From there on a candidate goes on by itself, and a trial ends.
func (c *candidate) first(ctx context.Context, w *waiter) {
	k := c.l.keeper()
	var pause time.Duration
	on := true
	switch near := firstRTTs*k.RoundTrip() <= firstPatience; {
	case near:
		pause, on = c.attemptOf(ctx, w)
	case c.trying:
		k.Go(c.tryFar)
		return
	}
	switch {
	case !on:
	case c.trying:
		c.triedInVain()
	default:
		k.Lock()
		c.spawnLocked(pause)
		k.Unlock()
	}
}

// tryFar is a trial over a link for which firstPatience is too short, on a goroutine of its
// own, which ends with the attempt.
func (c *candidate) tryFar() {
	attempt := lease.NewPatientAttempt(c.l.keeper().Context(), c.timeout())
	defer attempt.End()
	if _, on := c.attempt(attempt, false); on {
		c.triedInVain()
	}
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

// attemptOf makes an attempt on the goroutine of the caller, for which w waits.
func (c *candidate) attemptOf(ctx context.Context, w *waiter) (pause time.Duration, on bool) {
	deadline := w.since.Add(min(firstPatience, w.opt.acquireTimeout(0)))
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if w.opt.Wait > 0 && w.since.Add(w.opt.Wait).Before(deadline) {
		deadline = w.since.Add(w.opt.Wait)
	}
	w.attempt.Begin(deadline)
	defer w.attempt.End()
	return c.attempt(&w.attempt, true)
}
