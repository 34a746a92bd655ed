package engine

import (
	"context"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// releaseAttempts is how often End asks before it leaves the matter to a
// cleaner and lets its caller go.
const releaseAttempts = 2

// End ends one run. After the last run of the hold the key goes to the next
// local waiter, while the tenure may last, or back to the store. End returns
// why the run was not exclusive to its end, nil if it was: a release that the
// store could not answer is no loss, since trust had not ended.
func (h *Hold) End() *Lost { return h.end(true) }

// Abandon ends a hold under which nothing ran: the key is not kept shut for
// MinHold.
func (h *Hold) Abandon() { h.end(false) }

func (h *Hold) end(ran bool) *Lost {
	t, e := h.t, h.t.l.e
	t.check() // a loss that the timer was too late to see is a loss all the same
	e.mu.Lock()
	h.runs--
	if h.runs > 0 {
		e.mu.Unlock()
		return h.Cause()
	}
	h.over.Store(true)
	var shut time.Duration
	if ran {
		shut = max(0, t.opt.MinHold-time.Since(h.granted))
	}
	if t.handOnLocked(shut) {
		e.mu.Unlock()
		return nil
	}
	t.ended = true
	t.timer.Stop()
	e.unplanLocked(t)
	lost := t.lost.Load()
	r := lease.ReleaseRequest{Key: t.l.key, Owner: t.owner, Claim: t.claim, Close: shut}
	if lost {
		// Nothing depends on the answer any more, so nobody waits for it.
		e.cleanUpLocked(r, t.unknown, t.opt.TTL)
		e.mu.Unlock()
		return h.Cause()
	}
	e.mu.Unlock()

	cause := h.release(r)

	e.mu.Lock()
	if t.l.tenure == t {
		t.l.tenure = nil
		t.l.kickLocked() // not sooner: a contender would only meet our own lease
	}
	e.mu.Unlock()
	return cause
}

// handOnLocked gives the key to the next local waiter without asking the store,
// and reports whether it did. The tenure must be young, so that other processes
// get their turn; have half its TTL of trust left, so that the new run does not
// begin on the edge; have a token left; and suit the waiter's options.
func (t *tenure) handOnLocked(shut time.Duration) bool {
	l, now := t.l, time.Now()
	if len(l.waiters) == 0 || shut > 0 || t.lost.Load() || t.nextFence > t.lastFence ||
		!t.opt.sameLease(l.waiters[0].opt) ||
		now.Sub(t.began) >= tenureMax || t.trustLeft(now) < t.opt.TTL/2 {
		return false
	}
	l.answerLocked(answer{hold: t.newHoldLocked(l.waiters[0])})
	return true
}

// release gives the lease back within trust. "Not yours" in answer to the first
// attempt means that the lease was lost before it; after an attempt that was
// not answered it more likely means that that one worked, and as trust had not
// ended, the run was exclusive either way.
func (h *Hold) release(r lease.ReleaseRequest) *Lost {
	t, e := h.t, h.t.l.e
	// A lost attempt of ours that is still buried somewhere could re-create the
	// lease after the release: release again when the store will refuse it.
	buried := t.unknown.After(time.Now())
	var err error
	for attempt := range releaseAttempts {
		ctx, cancel := context.WithTimeout(context.Background(), t.opt.renewTimeout())
		var reply lease.ReleaseReply
		reply, err = e.store.Release(ctx, r)
		cancel()
		if err == nil {
			if buried {
				h.releaseLater(r)
			}
			if attempt == 0 && !reply.Released {
				lost := &Lost{Kind: ErrLost, Reason: ReasonNotOwner}
				h.notify(Event{Kind: EventLost, Err: lost})
				return lost
			}
			return nil
		}
	}
	h.notify(Event{Kind: EventReleaseFailed, Err: err})
	h.releaseLater(r)
	return nil
}

// releaseLater has a cleaner see to it that nothing of the tenure is left.
func (h *Hold) releaseLater(r lease.ReleaseRequest) {
	t, e := h.t, h.t.l.e
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleanUpLocked(r, t.unknown, t.opt.TTL)
}
