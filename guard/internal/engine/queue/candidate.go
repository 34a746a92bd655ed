package queue

import (
	"context"
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/lease"
)

// candidate stands in the store's queue for all local waiters of one key. It
// belongs to the local queue, not to the caller that happens to be first: callers
// come and go while its place is kept.
//
// The caller that starts it makes the first attempt on its own goroutine, which
// is all there is to an uncontended key. A goroutine goes on from there. The one
// follows the other, so there is at most one Acquire under way for the owner id.
type candidate struct {
	e       *Engine
	l       *local
	owner   string
	place   lease.Place
	watched bool

	// What follows is guarded by the Keeper's mutex.
	lastReply
	ticket int64 // orders the store's queue; 0 before joining

	// nudge ends the sleep: the key was granted, or all waiters left. One pending
	// nudge is enough, as the candidate looks at everything each time. It is made
	// with the goroutine; nudged says that one came before.
	nudge  chan struct{}
	nudged bool

	breakOff context.CancelFunc // ends the store call under way
	resting  bool               // in the store's queue, with no call under way
	relieved bool               // a wake-up began the lease: there is nothing left to do

	// What to clean up when the candidate ends without the key.
	joined  bool          // the store may have the owner in the queue, or as the holder
	unknown time.Time     // the latest deadline of attempts that were not answered
	life    time.Duration // the longest that any of them could leave something

	limit    lease.Limit
	failures int  // in a row
	asked    int  // how often the holder was asked to stop, in a row
	trying   bool // see [candidate.try]
}

// lastReply is what a candidate knows of the key.
type lastReply struct {
	heard   bool      // the key had a holder
	holder  string    // its owner; "" if the store did not say
	expires time.Time // when the holder's lease would; zero if unknown
	err     error     // of the last store call, nil if it was answered
	failing time.Time // since when calls have failed in a row
}

// startLocked makes c l's candidate, for the first waiter.
func (l *local) startLocked(c *candidate) *candidate {
	c.initLocked(l)
	if w := c.e.watcher; w != nil {
		w.Watch(c.owner, c)
		c.watched = true
	}
	l.candidate = c
	return c
}

func (c *candidate) initLocked(l *local) {
	w := l.waiters.first
	c.e, c.l = l.e, l
	c.owner = l.e.store.NewOwner(w.opt.Metadata)
	c.place = placeFor(w.opt.TTL, l.keeper().RoundTrip())
	c.limit = lease.Limit(l.limit)
}

// endLocked is the end of c.
func (c *candidate) endLocked() {
	switch l := c.l; {
	case c.trying:
		l.trials--
	case l.candidate == c:
		l.candidate = nil
	}
}

// knowsObstacle reports whether c, if there is one, knows what is in the way.
func (c *candidate) knowsObstacle() bool { return c != nil && (c.heard || c.err != nil) }

// unwatch ends the watch, without the mutex.
func (c *candidate) unwatch() {
	if c.watched {
		c.e.watcher.Unwatch(c.owner)
	}
}

// nudgeLocked wakes the candidate.
func (c *candidate) nudgeLocked() {
	c.nudged = true
	select {
	case c.nudge <- struct{}{}: // never, as long as there is no channel
	default:
	}
}

// breakOffLocked ends the call under way, whose answer is of no use any more; the
// candidate cleans up.
func (c *candidate) breakOffLocked() {
	c.nudgeLocked()
	if c.breakOff != nil {
		c.breakOff()
	}
}

// spawnLocked has c go on by itself.
func (c *candidate) spawnLocked(pause time.Duration) {
	c.nudge = make(chan struct{}, 1)
	if c.nudged {
		c.nudgeLocked()
	}
	c.l.keeper().Go(func() { c.contend(pause) })
}

// contend goes on asking the store until a waiter has the key or none is left.
// What ends it is the grant, the last waiter's leaving (waiters leave when their
// context or patience ends, or on Close) or a refusal.
func (c *candidate) contend(pause time.Duration) {
	k := c.l.keeper()
	for on := true; on; {
		c.sleep(c.replace(pause))
		ctx, cancel := context.WithCancel(k.Context())
		k.Lock()
		c.breakOff = cancel
		k.Unlock()
		attempt := lease.NewPatientAttempt(ctx, c.timeout())
		pause, on = c.attempt(attempt, false)
		attempt.End()
		cancel()
	}
}

// sleep ends early when the candidate is nudged.
func (c *candidate) sleep(d time.Duration) {
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

// timeout is the first waiter's for one attempt.
func (c *candidate) timeout() time.Duration {
	c.l.keeper().Lock()
	defer c.l.keeper().Unlock()
	if c.l.waiters.n == 0 {
		return reservationMax // there will be no attempt, unless a caller comes just now
	}
	return c.l.waiters.first.opt.acquireTimeout(c.failures)
}

// attempt asks once on behalf of the first waiter, and reports whether to go on
// and how long to pause before. If not, the candidate has ended.
func (c *candidate) attempt(attempt *lease.Attempt, first bool) (pause time.Duration, on bool) {
	r, ok := c.request()
	if !ok {
		c.unwatch()
		return 0, false
	}
	sent := time.Now()
	reply, err := c.e.store.Acquire(attempt, r)
	if !reply.Sent.IsZero() {
		sent = reply.Sent
	}
	if !reply.Unanswered.IsZero() {
		c.unanswered(r, reply.Unanswered)
	}

	deadline, _ := attempt.Deadline()
	switch {
	case err != nil && (first && !time.Now().Before(deadline) || errors.Is(attempt.Err(), context.Canceled)):
		// No fault of the store: too short an attempt, or one that was broken off
		// because all had left. Present waiters must not suffer for it.
		c.unanswered(r, deadline)
		return 0, true
	case err != nil:
		if waited := deadline.Add(-attempt.Timeout()); attempt.Timeout() > 0 && waited.After(sent) {
			sent = waited
		}
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

// request is what to ask next; false if there is nothing to ask: the candidate
// ends, because a wake-up began the lease or no waiter is left.
func (c *candidate) request() (_ lease.AcquireRequest, ok bool) {
	l := c.l
	l.keeper().Lock()
	defer l.keeper().Unlock()
	c.resting = false
	if c.relieved {
		return lease.AcquireRequest{}, false
	}
	if l.waiters.n == 0 {
		c.endLocked()
		l.dropLocked()
		c.leave()
		return lease.AcquireRequest{}, false
	}
	w := l.waiters.first
	tokens := 1
	if l.waiters.n > 1 {
		tokens = handoffTokens
	}
	l.calls++
	return lease.AcquireRequest{
		Key:        l.key(),
		Owner:      c.owner,
		TTL:        w.opt.Life(),
		Limit:      w.opt.Limit,
		Join:       l.waiters.n > l.waiters.tries && !c.trying,
		Ticket:     c.ticket,
		Place:      c.place,
		TokenCount: tokens,
	}, true
}

// unanswered notes an attempt whose outcome is not known. An earlier one may
// have the later deadline, and the longer TTL.
func (c *candidate) unanswered(r lease.AcquireRequest, deadline time.Time) {
	if deadline.After(c.unknown) {
		c.unknown = deadline
	}
	c.life = max(c.life, r.TTL, r.Reservation)
	c.joined = c.joined || r.Join
}

// failed notes an attempt that got no grant because the store failed, and
// answers the waiters for which that was one attempt too many: all of them if
// the store refused, else those for which it has failed for min(Wait, TTL).
func (c *candidate) failed(r lease.AcquireRequest, sent, deadline time.Time, err error) (pause time.Duration) {
	l := c.l
	refused := errors.Is(err, lease.ErrRefused)
	if !refused {
		c.unanswered(r, deadline)
	}
	c.failures++
	pause = backoff.Pause(c.failures, firstPause, pollCap)

	l.keeper().Lock()
	defer l.keeper().Unlock()
	c.err = keep.StoreError(err)
	if c.failing.IsZero() {
		c.failing = sent
	}
	now := time.Now()
	l.waiters.each(func(w *waiter) {
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
			l.answerLocked(w, nil, &Failure{Kind: Unavailable, Err: c.err})
			return
		}
		pause = min(pause, left)
	})
	if l.waiters.n == 0 {
		return 0
	}
	return pause
}

// held notes who has the key, refuses the callers that only try, and returns when
// to ask again unless nudged.
func (c *candidate) held(r lease.AcquireRequest, reply lease.AcquireReply, sent time.Time) (pause time.Duration) {
	l := c.l
	c.failures = 0
	c.joined = c.joined || r.Join

	l.keeper().Lock()
	defer l.keeper().Unlock()
	c.ticket = reply.Ticket
	l.keeper().ObserveLocked(time.Since(sent))
	c.lastReply = lastReply{heard: true, holder: reply.Holder}
	if reply.Remaining >= 0 {
		c.expires = time.Now().Add(reply.Remaining)
	}
	l.seenLocked(reply.Holder)
	if c.trying {
		return 0
	}
	l.refuseTriesLocked()
	if l.waiters.n == 0 || !r.Join {
		return 0 // leave; or join, since a caller arrived that wants to wait
	}
	c.resting = true
	return pollAfter(reply, c.place)
}

// deliver gives the granted key to the first waiter, which starts a lease. It
// reports false if there is none or the grant does not suit the waiter: then the
// loop asks again, which refreshes the lease, or leaves.
func (c *candidate) deliver(r lease.AcquireRequest, reply lease.AcquireReply, sent time.Time) bool {
	l := c.l
	c.failures = 0
	c.joined = true // the lease itself must be given back from here on

	l.keeper().Lock()
	defer l.keeper().Unlock()
	l.keeper().ObserveLocked(time.Since(sent))
	c.lastReply = lastReply{}
	if l.waiters.n == 0 {
		return false
	}
	w := l.waiters.first
	if w.opt.Life() != r.TTL {
		return false // the waiter we asked for has left; the next wants another life
	}
	granted := l.newLeaseLocked(c.grant(reply.Fence, reply.TokenCount), w.opt.Terms)
	if granted.ExtendLocked(sent, w.opt.TTL) <= 0 {
		return false // so slow a reply that its trust is spent already
	}
	c.endLocked()
	l.grantedLocked(granted, sent.Add(w.opt.RenewPause()))
	return true
}

// grant is what a lease in place of c begins with.
func (c *candidate) grant(fence int64, tokens int) keep.Grant {
	return keep.Grant{
		Owner: c.owner, Place: c.place,
		Fence: fence, TokenCount: tokens,
		Unknown: c.unknown, Life: c.life,
	}
}

// leave gives back what the store may have for an owner that is not needed any
// more: a place in the queue, a grant, or an attempt still on its way.
func (c *candidate) leave() {
	if !c.joined && c.unknown.IsZero() {
		return
	}
	r := lease.ReleaseRequest{Key: c.l.key(), Owner: c.owner, Place: c.place, Limit: c.limit}
	c.l.keeper().CleanUp(r, c.unknown, max(c.life, c.place.Reservation))
}

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

// startNowLocked begins the lease on the strength of the wake-up alone, which saves the
// round trip in which the candidate would learn the same, and reports whether it did; see
// docs/design/architecture.md. Trust never exceeds what a renewal sent from now on would
// give, as that one may shorten a reservation that is longer than the TTL.
func (c *candidate) startNowLocked(g lease.Grant) bool {
	l := c.l
	if g.Fence == 0 || !c.resting || l.waiters.n != 1 {
		return false
	}
	w, now := l.waiters.first, time.Now()
	if w.opt.MinHold > c.place.Reservation {
		return false
	}
	granted := l.newLeaseLocked(c.grant(g.Fence, 1), w.opt.Terms)
	left := granted.ExtendLocked(g.Since, min(c.place.Reservation, now.Sub(g.Since)+w.opt.TTL))
	if left < min(c.place.Reservation, w.opt.TTL)/reservationRest {
		return false
	}
	c.resting, c.relieved = false, true
	c.endLocked()
	l.grantedLocked(granted, now.Add(min(confirmAfter, left/3)))
	return true
}
