package engine

import (
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// tenure is one owner id's time with a key, from grant to release. Except where
// said, its fields are guarded by Engine.mu.
type tenure struct {
	// Fixed at the start.
	l           *line
	owner       string
	reservation time.Duration
	opt         terms
	began       moment

	unknown moment        // the latest deadline of Acquires that went unanswered before the grant
	life    time.Duration // the longest that any of them could leave something

	// trust is when trust ends, on both clocks. It only grows, and only under
	// the mutex; it is read without, by every look at a context.
	trust instant

	// lost is set once, under the mutex, when trust has ended, and is read
	// without. cause says why and is fixed before lost is set.
	lost  atomic.Bool
	ended bool // release has begun: nobody renews any more
	// renewalOver: nothing is to be planned again.
	renewalOver bool
	cause       *Lost

	expiry entry       // at trust's end or before it
	aging  *time.Timer // fires when local waiters may contend; nil until one came
	hold   *Hold       // the present one
	first  Hold        // the memory of the first one

	nextFence int64 // tokens left for local followers: nextFence … lastFence
	lastFence int64

	renewal renewal
}

// instant is a moment on the monotonic and the wall clock.
type instant struct {
	mono atomic.Int64 // ns since Engine.base
	wall atomic.Int64 // ns since the epoch
}

func newTenure(l *line, c *contender, opt Options, reply lease.AcquireReply) *tenure {
	t := &l.first
	if t.l != nil { // there was one before
		t = new(tenure)
	}
	t.l = l
	t.owner, t.reservation = c.owner, c.reservation
	if !c.unknown.IsZero() {
		t.unknown = l.e.moment(c.unknown)
	}
	t.life = max(c.life, opt.TTL, c.reservation) // a grant from the line lives for the reservation
	t.opt = opt.terms()
	t.began = l.e.moment(time.Now())
	t.nextFence, t.lastFence = reply.Fence, reply.Fence+int64(reply.TokenCount)-1
	return t
}

// extendLocked moves the end of trust to sent + life − Margin, never back, and
// reports whether any trust is left. sent must be a moment before the answered
// request left: the server cannot have begun to count life earlier.
func (t *tenure) extendLocked(sent time.Time, life time.Duration) bool {
	until := sent.Add(life - t.opt.Margin)
	if mono := int64(until.Sub(t.l.e.base)); mono > t.trust.mono.Load() {
		// The wall clock's reading of sent, moved by the same duration.
		t.trust.wall.Store(until.UnixNano())
		t.trust.mono.Store(mono)
	}
	return t.trustLeft(time.Now()) > 0
}

// trustLeft is how much longer the lease is proven: the less of what the two
// clocks say. The monotonic clock does not count the time a machine slept, the
// wall clock may be stepped back; neither alone is safe.
func (t *tenure) trustLeft(now time.Time) time.Duration {
	mono := t.trust.mono.Load() - int64(now.Sub(t.l.e.base))
	wall := t.trust.wall.Load() - now.UnixNano()
	return time.Duration(min(mono, wall))
}

// grantedLocked begins the tenure in place of the contender and serves w, who
// is first in line. It sees to trust's end and plans the first renewal.
func (t *tenure) grantedLocked(w *waiter, renewal time.Time) {
	l := t.l
	l.contender = nil
	l.tenure = t
	t.watchExpiryLocked(time.Now())
	l.e.planLocked(t, renewal)
	l.serveLocked(t.newHoldLocked(w))
	for _, next := range l.waiters {
		next.sawLocked(t.owner)
	}
	l.turnAwayLocked()
}

func (t *tenure) watchExpiryLocked(now time.Time) {
	e := t.l.e
	e.expiries.add(&t.expiry, t, now.Add(t.trustLeft(now)))
	e.expiries.arm()
}

// expire runs when a tenure's trust ends, as it was known before. By now a
// renewal may have moved it; the deadline is read under the mutex that a renewal
// needs to move it, so either the renewal came first and the tenure is looked at
// again later, or trust ends here and the renewal finds it ended.
//
// It does no I/O, and the timer is set for the next before anybody is told.
func (e *Engine) expire() {
	var lost []loss
	e.mu.Lock()
	e.expiries.fired()
	now := time.Now()
	for x := e.expiries.takeUntil(now); x != nil; x = e.expiries.takeUntil(now) {
		if x.t.trustLeft(now) > 0 {
			x.t.watchExpiryLocked(now)
		} else {
			lost = append(lost, x.t.loseLocked(x.t.expiredLocked()))
		}
	}
	e.expiries.arm()
	e.mu.Unlock()
	tellAll(lost)
}

// check ends the tenure's trust if the clocks say so, without waiting for the
// timer: a process that was stopped runs on for a moment before its timers do.
func (t *tenure) check() {
	now := time.Now()
	if t.lost.Load() || t.trustLeft(now) > 0 {
		return
	}
	e := t.l.e
	e.mu.Lock()
	if t.ended || t.trustLeft(now) > 0 { // a renewal moved it
		e.mu.Unlock()
		return
	}
	lost := t.loseLocked(t.expiredLocked())
	e.mu.Unlock()
	lost.tell()
}

// Lost says how a tenure ended against its holder's will.
type Lost struct {
	Kind   error  // ErrLost or ErrMaxHold
	Reason Reason // why
	Holder string // who holds the key instead, if known
	Err    error  // of the last failed renewal, if that was why
}

func (l *Lost) Error() string {
	if l.Err != nil {
		return string(l.Reason) + ": " + l.Err.Error()
	}
	return string(l.Reason)
}

func (l *Lost) Unwrap() []error { return []error{l.Kind, l.Err} }

// Reason is a short, fixed text that says why a lease was lost.
type Reason string

// The reasons.
const (
	ReasonExpired  Reason = "trust ran out before a renewal succeeded"
	ReasonNotOwner Reason = "the store no longer has us as the holder"
	ReasonMaxHold  Reason = "MaxHold passed"
)

func (t *tenure) expiredLocked() *Lost {
	return &Lost{Kind: ErrLost, Reason: ReasonExpired, Err: t.renewal.err}
}

// loseLocked ends trust for good: it marks the tenure, frees the local place in
// line even if the run goes on, and returns whom to tell without the mutex.
// The store may still have us as the holder; renewals go on as long as the run
// does, unless the cause forbids it.
func (t *tenure) loseLocked(cause *Lost) loss {
	if t.lost.Load() {
		return loss{}
	}
	t.cause = cause
	t.lost.Store(true)
	t.l.e.expiries.remove(&t.expiry)
	if cause.Reason != ReasonExpired {
		t.l.e.unplanLocked(t)
		t.renewalOver = true
	}
	if t.l.tenure == t && !t.ended {
		t.l.tenure = nil
		t.l.kickLocked()
	}
	h := t.hold
	return loss{
		h: h, cause: cause, bound: h.takeBoundLocked(),
		report: h.tellLocked(lostEvent(cause)),
	}
}

// loss is whom to tell that a lease was lost: first those who must stop, then
// whoever listens, who may take his time.
type loss struct {
	h      *Hold
	cause  *Lost
	bound  []Bound
	report func() // nil if nobody listens
}

func (l loss) cancel() {
	for _, b := range l.bound {
		b.Lost(l.h, l.cause)
	}
}

// tell cancels and reports, on this goroutine.
func (l loss) tell() {
	l.cancel()
	if l.report != nil {
		l.report()
	}
}

// tellAll cancels everything, and then has each listener told by itself: a slow
// one holds up nobody else's run, nor its end. End waits for these goroutines.
func tellAll(losses []loss) {
	for _, l := range losses {
		l.cancel()
	}
	for _, l := range losses {
		if l.report != nil {
			go l.report()
		}
	}
}
