package engine

import (
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// releaseAttempts is how often End asks before it lets its caller go and leaves
// the matter to a cleaner.
const releaseAttempts = 2

// End ends one run. After the last run of the hold the key goes to the next
// local waiter, while the tenure may last, or back to the store. End returns
// why the run was not exclusive to its end, nil if it was: a release that the
// store could not answer is no loss, since trust had not ended.
func (h *Hold) End() *Lost { return h.end(true) }

// Abandon ends a hold under which nothing ran: the key is not kept shut for
// MinHold.
func (h *Hold) Abandon() { _ = h.end(false) }

func (h *Hold) end(ran bool) *Lost {
	t, e := h.t, h.t.l.e
	t.check() // a loss that the timer was too late to see is a loss all the same
	e.mu.Lock()
	if h.runs > 1 {
		h.runs--
		e.mu.Unlock()
		return h.Cause()
	}
	h.over.Store(true)
	var closedUntil time.Time
	if ran && t.opt.MinHold > 0 {
		closedUntil = h.granted.time(e).Add(t.opt.MinHold)
	}
	if t.handOnLocked(closedUntil) {
		h.runs = 0
		e.mu.Unlock()
		h.telling.Wait()
		return nil
	}
	t.ended = true
	e.expiries.remove(&t.expiry)
	if t.aging != nil {
		t.aging.Stop()
	}
	e.unplanLocked(t)
	g := givingBack{
		ReleaseRequest: lease.ReleaseRequest{
			Key: t.l.key, Owner: t.owner, Reservation: t.reservation, Limit: t.opt.Limit,
			Fence: t.nextFence - 1, LastFence: t.lastFence,
		},
		closedUntil: closedUntil,
	}
	e.mu.Unlock()

	cause := h.release(g)

	e.mu.Lock()
	h.runs = 0
	if t.l.tenure == t {
		t.l.tenure = nil
		t.l.kickLocked() // not sooner: a contender would only meet our own lease
	}
	e.mu.Unlock()
	h.telling.Wait()
	return cause
}

// handOnLocked gives the key to the next local waiter without asking the store,
// and reports whether it did. The tenure must be young, so that other processes
// get their turn; have half its TTL of trust left, so that the new run does not
// begin on the edge; have a token left; and suit the waiter's options.
func (t *tenure) handOnLocked(closedUntil time.Time) bool {
	l, now := t.l, time.Now()
	if len(l.waiters) == 0 || closedUntil.After(now) || t.lost.Load() || t.nextFence > t.lastFence ||
		t.opt != l.waiters[0].opt.terms() ||
		now.Sub(t.began.time(l.e)) >= tenureMax || t.trustLeft(now) < t.opt.TTL/2 {
		return false
	}
	l.serveLocked(t.newHoldLocked(l.waiters[0]))
	return true
}

// givingBack is a release that may be sent more than once, at different times.
type givingBack struct {
	lease.ReleaseRequest
	closedUntil time.Time // when MinHold is over; zero if it does not matter
}

// request is what to send now.
func (g *givingBack) request() lease.ReleaseRequest {
	r := g.ReleaseRequest
	if !g.closedUntil.IsZero() {
		r.KeepClosed = max(0, time.Until(g.closedUntil))
	}
	return r
}

// release gives the lease back. "Not yours" means that the lease was lost
// before, unless an earlier attempt may have worked without our hearing of it;
// as trust had not ended then, the run was exclusive. What could not be done
// here is left to a cleaner.
func (h *Hold) release(g givingBack) *Lost {
	t, e := h.t, h.t.l.e
	attempts := releaseAttempts
	lost := h.Cause()
	if lost != nil {
		attempts = 1 // best effort: the key is probably somebody else's
	}
	var err error
	maybeDone := false
	for range attempts {
		a := lease.NewAttempt(time.Now().Add(t.opt.renewTimeout()))
		var reply lease.ReleaseReply
		reply, err = e.store.Release(a, g.request())
		a.End()
		if err != nil {
			maybeDone = maybeDone || !errors.Is(err, lease.ErrRefused)
			continue
		}
		if lost == nil && !maybeDone && !reply.Released {
			lost = &Lost{Kind: ErrLost, Reason: ReasonNotOwner}
			h.tell(lostEvent(lost))
		}
		if !maybeDone && !reply.Released {
			h.given.Store(int32(ReleaseLost))
		}
		// An attempt of ours to acquire that is still buried somewhere could
		// re-create the lease: release once more when the store will refuse it.
		if t.unknown.time(e).After(time.Now()) {
			h.releaseLater(g, 0)
		}
		return lost
	}
	h.given.Store(int32(ReleaseFailed))
	if lost == nil {
		h.tell(Event{Kind: EventReleaseFailed, Err: err})
	}
	h.releaseLater(g, attempts)
	return lost
}

// releaseLater has a cleaner see to it that nothing of the tenure is left.
func (h *Hold) releaseLater(g givingBack, failures int) {
	t, e := h.t, h.t.l.e
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleanUpLocked(g, t.unknown.time(e), t.life, failures)
}
