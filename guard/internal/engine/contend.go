package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// contender stands in the store's line for all local waiters of one key. It
// belongs to the line, not to the caller who happens to be first: callers come
// and go while the place is kept.
//
// The caller who starts it makes the first attempt on its own goroutine, which
// is all there is to an uncontended key. A goroutine goes on from there. The one
// follows the other, so there is at most one Acquire under way for the owner id.
type contender struct {
	l           *line
	owner       string
	reservation time.Duration
	watched     bool
	ticket      int64 // the place in the store's line; 0 before joining

	// What follows is guarded by Engine.mu.
	news

	// nudge ends the sleep: it was granted the key, or everybody left. One pending
	// nudge is enough, as the contender looks at everything each time. Arrivals
	// need none: a contender that sleeps is in line for them too. It is made with
	// the goroutine; nudged says that one came before.
	nudge  chan struct{}
	nudged bool

	breakOff context.CancelFunc // ends the store call under way
	resting  bool               // in the store's line, with no call under way
	relieved bool               // a wake-up began the tenure: there is nothing left to do

	// Trouble to clean up when the contender ends without the key.
	joined  bool          // the store may have the owner in line, or as the holder
	unknown time.Time     // the latest deadline of attempts that were not answered
	life    time.Duration // the longest that any of them could leave something

	limit    lease.Limit
	failures int // in a row
}

// startLocked makes c l's contender, for the first waiter.
func (l *line) startLocked(c *contender) *contender {
	e := l.e
	c.l = l
	c.owner = e.store.NewOwner(l.waiters[0].opt.Metadata)
	c.reservation = max(reservationMin, reservationRTTs*e.rtt)
	c.limit = l.waiters[0].opt.Limit
	if e.watcher != nil {
		e.watcher.Watch(c.owner, c.woken)
		c.watched = true
	}
	l.contender = c
	return c
}

// knowsTrouble reports whether c, if there is one, has heard what is in the way.
func (c *contender) knowsTrouble() bool { return c != nil && (c.heard || c.err != nil) }

// unwatch ends the watch, without the mutex.
func (c *contender) unwatch() {
	if c.watched {
		c.l.e.watcher.Unwatch(c.owner)
	}
}

// spawnLocked has c go on by itself.
func (c *contender) spawnLocked(pause time.Duration) {
	c.nudge = make(chan struct{}, 1)
	if c.nudged {
		c.lookLocked()
	}
	c.l.e.spawnLocked(func() { c.contend(pause) })
}

// first makes the first attempt on the goroutine of the caller, for whom w
// waits. It cannot be broken off, so it is short: when the store does not answer
// in time the outcome is left open, and the next attempt, elsewhere, finds out.
// Over a line that is not near enough for that, all attempts are made elsewhere.
func (c *contender) first(ctx context.Context, w *waiter, near bool) {
	var pause time.Duration
	on := true
	if near {
		deadline := w.since.Add(min(firstPatience, w.opt.acquireTimeout()))
		if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
			deadline = d
		}
		if w.opt.Wait > 0 && w.since.Add(w.opt.Wait).Before(deadline) {
			deadline = w.since.Add(w.opt.Wait)
		}
		attempt := lease.NewAttempt(deadline)
		pause, on = c.attempt(attempt, true)
		attempt.End()
	}
	if on {
		c.l.e.mu.Lock()
		c.spawnLocked(pause)
		c.l.e.mu.Unlock()
	}
}

// contend goes on asking the store until a waiter has the key or none is left.
// What ends it is the grant, the last waiter's leaving (waiters leave when their
// context or patience ends, or on Close) or a refusal.
func (c *contender) contend(pause time.Duration) {
	e := c.l.e
	for on := true; on; {
		c.sleep(pause)
		ctx, cancel := context.WithTimeout(e.ctx, c.timeout())
		e.mu.Lock()
		c.breakOff = cancel
		e.mu.Unlock()
		pause, on = c.attempt(ctx, false)
		cancel()
	}
}

// timeout is the first waiter's for one attempt.
func (c *contender) timeout() time.Duration {
	c.l.e.mu.Lock()
	defer c.l.e.mu.Unlock()
	if len(c.l.waiters) == 0 {
		return reservationMin // there will be no attempt, unless somebody comes just now
	}
	return c.l.waiters[0].opt.acquireTimeout()
}

// attempt asks once on behalf of whoever is first now, and reports whether to
// go on and how long to pause before. If not, the contender has ended.
func (c *contender) attempt(ctx context.Context, first bool) (pause time.Duration, on bool) {
	l, e := c.l, c.l.e
	e.mu.Lock()
	c.resting = false
	if c.relieved {
		e.mu.Unlock()
		c.unwatch()
		return 0, false
	}
	if len(l.waiters) == 0 {
		l.contender = nil
		l.dropLocked()
		c.leaveLocked()
		e.mu.Unlock()
		c.unwatch()
		return 0, false
	}
	w := l.waiters[0]
	fences := 1
	if len(l.waiters) > 1 {
		fences = tenureTokens
	}
	r := lease.AcquireRequest{
		Key:         l.key,
		Owner:       c.owner,
		TTL:         w.opt.TTL,
		Limit:       w.opt.Limit,
		Join:        slices.ContainsFunc(l.waiters, func(w *waiter) bool { return w.opt.Wait != 0 }),
		Ticket:      c.ticket,
		Reservation: c.reservation,
		TokenCount:  fences,
	}
	l.calls++
	e.mu.Unlock()

	sent := time.Now()
	reply, err := e.store.Acquire(ctx, r)

	deadline, _ := ctx.Deadline()
	switch {
	case err != nil && (first && !time.Now().Before(deadline) || errors.Is(ctx.Err(), context.Canceled)):
		// Nobody's fault: too short an attempt, or one that was broken off because
		// everybody had left. Who is there now is not to suffer for it.
		c.unanswered(r, deadline)
		return 0, true
	case err != nil:
		return c.failed(r, sent, deadline, err), true
	case reply.Granted:
		if c.deliver(r, reply, sent) {
			c.unwatch()
			return 0, false
		}
		return 0, true
	default:
		return c.held(r, reply, sent), true
	}
}

// unanswered notes an attempt whose outcome is not known. An earlier one may
// have the later deadline, and the longer TTL.
func (c *contender) unanswered(r lease.AcquireRequest, deadline time.Time) {
	if deadline.After(c.unknown) {
		c.unknown = deadline
	}
	c.life = max(c.life, r.TTL, r.Reservation)
	c.joined = c.joined || r.Join
}

// failed notes an attempt that got no grant because the store failed, and
// answers the waiters for whom that was one attempt too many: all of them if
// the store refused, else those for whom it has failed for min(Wait, TTL).
func (c *contender) failed(r lease.AcquireRequest, sent, deadline time.Time, err error) (pause time.Duration) {
	l, e := c.l, c.l.e
	refused := errors.Is(err, lease.ErrRefused)
	if !refused {
		c.unanswered(r, deadline)
	}
	c.failures++
	pause = backoff(c.failures, pollCap)

	e.mu.Lock()
	defer e.mu.Unlock()
	c.err = storeError{err}
	if c.failing.IsZero() {
		c.failing = sent
	}
	now := time.Now()
	l.waiters = slices.DeleteFunc(l.waiters, func(w *waiter) bool {
		limit := w.opt.TTL
		if w.opt.Wait >= 0 {
			limit = min(limit, w.opt.Wait)
		}
		since := c.failing
		if w.since.After(since) {
			since = w.since
		}
		left := since.Add(limit).Sub(now)
		if refused || left <= 0 {
			w.answerLocked(nil, &Failure{Kind: ErrUnavailable, Err: c.err, Attempts: l.calls - w.calls})
			return true
		}
		pause = min(pause, left)
		return false
	})
	if len(l.waiters) == 0 {
		return 0
	}
	return pause
}

// held notes who has the key, turns away those who only wanted to try, and
// returns when to ask again unless nudged.
func (c *contender) held(r lease.AcquireRequest, reply lease.AcquireReply, sent time.Time) (pause time.Duration) {
	l, e := c.l, c.l.e
	c.failures = 0
	c.ticket = reply.Ticket
	c.joined = c.joined || r.Join

	e.mu.Lock()
	defer e.mu.Unlock()
	e.observeRTTLocked(time.Since(sent))
	c.news = news{heard: true, holder: reply.Holder}
	if reply.Remaining >= 0 {
		c.expires = time.Now().Add(reply.Remaining)
	}
	for _, w := range l.waiters {
		w.sawLocked(reply.Holder)
	}
	l.turnAwayLocked()
	if len(l.waiters) == 0 || !r.Join {
		return 0 // leave; or join, since somebody arrived who wants to stand in line
	}
	c.resting = true
	return pollAfter(reply)
}

// turnAwayLocked answers those who only wanted to try, now that somebody else
// is known to have the key.
func (l *line) turnAwayLocked() {
	l.waiters = slices.DeleteFunc(l.waiters, func(w *waiter) bool {
		if w.opt.Wait != 0 {
			return false
		}
		w.answerLocked(nil, l.obstacleLocked(w))
		return true
	})
}

// pollAfter is how long to wait for a wake-up before asking anyway.
func pollAfter(reply lease.AcquireReply) time.Duration {
	limit := pollCap
	if reply.Ticket == 0 {
		limit = pollNoLine
	} else if !reply.Head {
		return jitter(pollCap*3/4, pollCap)
	}
	if reply.Remaining < 0 { // a foreign key without expiry
		return limit
	}
	// Just after the expiry, never before it: asking early costs a second poll.
	d := min(max(reply.Remaining, pollFloor), limit)
	return jitter(d, d+d/16)
}

// sleep ends early when the contender is nudged.
func (c *contender) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.nudge:
	case <-t.C:
	}
}

// deliver gives the granted key to the first waiter, who starts a tenure. It
// reports false if there is nobody to take it or the grant does not suit the
// waiter: then the loop asks again, which refreshes the lease, or leaves.
func (c *contender) deliver(r lease.AcquireRequest, reply lease.AcquireReply, sent time.Time) bool {
	l, e := c.l, c.l.e
	c.failures = 0
	c.joined = true // the lease itself must be given back from here on

	e.mu.Lock()
	defer e.mu.Unlock()
	e.observeRTTLocked(time.Since(sent))
	c.news = news{}
	if len(l.waiters) == 0 {
		return false
	}
	w := l.waiters[0]
	if w.opt.TTL != r.TTL {
		return false // the one we asked for has left; the next wants another TTL
	}
	t := newTenure(l, c, w.opt, reply)
	if !t.extendLocked(sent, w.opt.TTL) {
		return false // so slow a reply that its trust is spent already
	}
	t.grantedLocked(w, t.began.time(e).Add(t.opt.renewPause()))
	return true
}

// leaveLocked gives back whatever the store may have for an owner nobody needs
// any more: a place in line, a grant, or an attempt still on its way.
func (c *contender) leaveLocked() {
	if !c.joined && c.unknown.IsZero() {
		return
	}
	g := givingBack{ReleaseRequest: lease.ReleaseRequest{Key: c.l.key, Owner: c.owner, Reservation: c.reservation, Limit: c.limit}}
	c.l.e.cleanUpLocked(g, c.unknown, max(c.life, c.reservation), 0)
}

// observeRTTLocked folds one measured round trip into the smoothed value, with the
// weight 1/8 that TCP uses for the same purpose (RFC 6298).
func (e *Engine) observeRTTLocked(d time.Duration) {
	if e.rtt == 0 {
		e.rtt = d
		return
	}
	e.rtt += (d - e.rtt) / 8
}
