package keep

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/lease"
)

// releaseAttempts is how often End asks before it lets its caller go and leaves
// the matter to a cleaner.
const releaseAttempts = 2

// maxLater bounds the releases that no caller waits for: a store that does not answer
// slows its callers down instead of gathering goroutines.
const maxLater = 256

// End ends one run. After the last run of the hold the key goes to the next
// local caller, if there is one for it, or back to the store. End returns why the
// run was not exclusive to its end, or that it was asked to stop, else nil: a release
// that the store could not answer is no loss, since trust had not ended.
func (h *Hold) End() *Lost {
	g, last := h.settle(true)
	if !last {
		return h.why(g)
	}
	return h.giveBack(g)
}

// EndLater is End without the wait for the store. If the store has to be asked,
// later is true: it is asked, and then done is called, on any goroutine, with what End
// would have returned; Drain waits for that. With slow it is a goroutine that nothing else
// waits for. So it is done for a lease that was exclusive until now, and while fewer than
// maxLater are under way; else EndLater is End, and done is not called.
func (h *Hold) EndLater(slow bool, done func(*Lost)) (cause *Lost, later bool) {
	g, last := h.settle(true)
	if !last {
		return h.why(g), false
	}
	k := h.l.k
	if n := k.later.Add(1); h.why(g) != nil || n > maxLater {
		defer k.later.Add(-1)
		return h.giveBack(g), false
	}
	k.work.Begin()
	ended := func(cause *Lost) {
		done(h.given(g, cause))
		k.later.Add(-1)
		k.work.End()
	}
	if s, ok := k.store.(lease.LaterReleaser); ok {
		answered := func(reply lease.ReleaseReply, err error) {
			switch {
			case err != nil:
				go func() { ended(h.release(g, err)) }()
			case slow:
				go func() { ended(h.released(g, reply, false)) }()
			default:
				ended(h.released(g, reply, false))
			}
		}
		if s.ReleaseLater(g.request(), h.releaseTimeout(), answered) {
			return nil, true
		}
	}
	go func() { ended(h.release(g, nil)) }()
	runtime.Gosched() // so that it is mostly on its way when the caller goes on
	return nil, true
}

// Hurry sends releases that wait for company: a caller waits for one of them.
func (k *Keeper) Hurry() {
	if s, ok := k.store.(lease.LaterReleaser); ok {
		s.Hurry()
	}
}

// Abandon ends a hold under which fn did not run: the key is not kept closed for
// MinHold.
func (h *Hold) Abandon() {
	if g, last := h.settle(false); last {
		_ = h.giveBack(g)
	}
}

// settle ends one run as far as that needs no store. last is true if what is left is
// to give g back: it was the last run of the hold, and nobody here took it over.
func (h *Hold) settle(ran bool) (g givingBack, last bool) {
	l, k := h.l, h.l.k
	l.check() // a loss that the timer was too late to see is a loss all the same
	k.mu.Lock()
	if h.runs > 1 {
		h.runs--
		g.stopped = l.stoppedLocked()
		k.mu.Unlock()
		return g, false
	}
	h.outcome.Store(int32(ReleaseDone)) // unless release finds otherwise
	var closedUntil time.Time
	if ran && l.terms.MinHold > 0 {
		closedUntil = k.time(h.granted).Add(l.terms.MinHold)
	}
	open := closedUntil.IsZero() || !closedUntil.After(time.Now())
	if open && l.next.HandOver(l) {
		h.runs = 0
		reported := h.reportedLocked()
		k.mu.Unlock()
		wait(reported)
		return g, false
	}
	l.ended = true
	l.stopExpiryLocked()
	k.unplanLocked(l)
	g = givingBack{
		ReleaseRequest: lease.ReleaseRequest{
			Key: l.key, Owner: l.owner, Place: l.place, Limit: l.terms.Limit,
			Fence: h.Fence, LastFence: l.lastToken(),
		},
		closedUntil: closedUntil,
		stopped:     l.stoppedLocked(),
	}
	k.mu.Unlock()
	return g, true
}

// why is why the run was not exclusive to its end, or that it was asked to stop.
func (h *Hold) why(g givingBack) *Lost {
	if cause := h.Cause(); cause != nil {
		return cause
	}
	return g.stopped
}

// giveBack releases the lease, and returns when the key is free in this process
// and every event has been reported.
func (h *Hold) giveBack(g givingBack) *Lost { return h.given(g, h.release(g, nil)) }

// given ends the hold after its release.
func (h *Hold) given(g givingBack, cause *Lost) *Lost {
	if cause == nil {
		cause = g.stopped
	}
	l, k := h.l, h.l.k
	k.mu.Lock()
	h.runs = 0
	if !l.lost.Load() {
		l.next.OnFree(l) // not sooner: the next caller would only meet our own lease
	}
	reported := h.reportedLocked()
	k.mu.Unlock()
	wait(reported)
	return cause
}

func (h *Hold) releaseTimeout() time.Duration { return h.l.terms.renewTimeout(h.l.k.RoundTrip()) }

// release gives the lease back; failed is why an attempt before this failed, nil if there
// was none. What could not be done here is left to a cleaner.
func (h *Hold) release(g givingBack, failed error) *Lost {
	attempts := releaseAttempts
	lost := h.Cause()
	if lost != nil {
		attempts = 1 // best effort: the key probably has another owner
	}
	err := failed
	maybeDone := failed != nil && !errors.Is(failed, lease.ErrRefused)
	for range attempts {
		a := lease.NewPatientAttempt(context.Background(), h.releaseTimeout())
		var reply lease.ReleaseReply
		reply, err = h.l.k.store.Release(a, g.request())
		a.End()
		if err != nil {
			maybeDone = maybeDone || !errors.Is(err, lease.ErrRefused)
			continue
		}
		return h.released(g, reply, maybeDone)
	}
	h.outcome.Store(int32(ReleaseFailed))
	if lost == nil {
		h.event(Event{Kind: EventReleaseFailed, Err: err})
	}
	h.releaseLater(g, attempts)
	return lost
}

// released judges the answer to a release. "Not yours" means that the lease was lost
// before, unless an earlier attempt may have worked and only its reply was lost:
// as trust had not ended then, the run was exclusive.
func (h *Hold) released(g givingBack, reply lease.ReleaseReply, maybeDone bool) *Lost {
	lost := h.Cause()
	// Trust had not ended when the run did. If it ended while the release waited
	// for its turn, the lease may have expired since: that is no loss.
	if !reply.Released && !reply.Resent && !maybeDone && (lost != nil || h.l.trustLeft(time.Now()) > 0) {
		h.outcome.Store(int32(ReleaseLost))
		if lost == nil {
			lost = &Lost{Reason: NotOwner}
			h.event(lostEvent(lost))
		}
	}
	// An attempt of ours to acquire that is still buried somewhere could
	// re-create the lease: release once more when the store will refuse it.
	if unknown, _ := h.l.doubt(); unknown.After(time.Now()) {
		h.releaseLater(g, 0)
	}
	return lost
}

// releaseLater has a cleaner release what is left of the lease.
func (h *Hold) releaseLater(g givingBack, failures int) {
	unknown, life := h.l.doubt()
	h.l.k.cleanUp(g, unknown, life, failures)
}

// givingBack is a release that may be sent more than once, at different times.
type givingBack struct {
	lease.ReleaseRequest
	closedUntil time.Time // when MinHold is over; zero if it does not matter
	stopped     *Lost     // why the run was asked to stop; nil if it was not
}

// request is what to send now.
func (g *givingBack) request() lease.ReleaseRequest {
	r := g.ReleaseRequest
	if !g.closedUntil.IsZero() {
		r.KeepClosed = max(0, time.Until(g.closedUntil))
	}
	return r
}

// CleanUp releases, in the background, what the store may have for an owner that
// is not needed any more: a place in the queue, a grant, or an Acquire on its way.
// unknown is the latest deadline of unanswered Acquires, zero if there is none;
// life is the longest that any of them could leave something.
func (k *Keeper) CleanUp(r lease.ReleaseRequest, unknown time.Time, life time.Duration) {
	k.cleanUp(givingBack{ReleaseRequest: r}, unknown, life, 0)
}

// cleaner sends a release until it is answered, and again until unknown: a request on its
// way over another connection, or buried in some buffer, may run after the first release, but
// the store refuses it after its deadline. Most are late by little, so the cleaner looks soon
// and then ever more rarely. It gives up when whatever is there has expired by itself.
//
// Between attempts it is a timer and no goroutine.
type cleaner struct {
	k        *Keeper
	g        givingBack
	unknown  time.Time
	end      time.Time
	longest  time.Duration // of one attempt
	failures int
	looks    int // answered, before unknown
}

// lookAgain is how long after the first answer the cleaner looks again; each later pause is
// four times as long.
const lookAgain = 25 * time.Millisecond

// cleanUp starts a cleaner for what lives at most life from now, or from unknown
// if that is later; failures counts the attempts that have failed already. It
// counts as work until it ends.
func (k *Keeper) cleanUp(g givingBack, unknown time.Time, life time.Duration, failures int) {
	c := &cleaner{k: k, g: g, unknown: unknown, end: time.Now().Add(life), longest: life / 3, failures: failures}
	if unknown.After(time.Now()) {
		c.end = unknown.Add(life)
	}
	k.work.Begin()
	if failures > 0 {
		time.AfterFunc(c.pause(), c.attempt)
		return
	}
	go c.attempt()
}

func (c *cleaner) pause() time.Duration { return backoff.Pause(c.failures, firstPause, time.Second) }

func (c *cleaner) attempt() {
	buried := c.unknown.After(time.Now())
	timeout := min(attemptTime(c.k.RoundTrip()), c.longest)
	a := lease.NewPatientAttempt(c.k.ctx, timeout)
	_, err := c.k.store.Release(a, c.g.request())
	a.End()
	var pause time.Duration
	switch {
	case err != nil:
		c.failures++
		pause = c.pause()
	case buried:
		pause = min(max(0, time.Until(c.unknown))+time.Millisecond, lookAgain<<(2*c.looks))
		c.looks++
	default:
		c.k.work.End()
		return
	}
	if c.k.ctx.Err() != nil || time.Now().Add(pause).After(c.end) {
		c.k.work.End()
		return
	}
	time.AfterFunc(pause, c.attempt)
}
