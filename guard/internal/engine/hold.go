package engine

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Hold is one run's possession of a key. Nested runs share it: it ends with the
// last of them.
type Hold struct {
	t *tenure

	// For the caller to read.
	Fence    int64
	Attempts int32 // store calls made until the grant

	over    atomic.Bool  // ended; written under Engine.mu
	given   atomic.Int32 // a Release
	runs    int32        // how many runs share the hold; guarded by Engine.mu
	granted moment

	// Guarded by Engine.mu.
	bound    []Bound
	one      [1]Bound // bound's memory in the usual case
	listener Listener

	// telling counts events on their way to listener. It only grows under
	// Engine.mu and while runs > 0, so end can wait for it to be 0.
	telling sync.WaitGroup
}

// Bound is told, once, that the lease under a hold was lost, on another goroutine
// or inside Live. Bounds are compared by identity.
type Bound interface {
	Lost(h *Hold, why *Lost)
}

// newHoldLocked makes the tenure's next hold, for w.
func (t *tenure) newHoldLocked(w *waiter) *Hold {
	h := &t.first
	if h.t != nil { // there was one before
		h = new(Hold)
	}
	h.t = t
	h.Fence = t.nextFence
	h.Attempts = int32(t.l.calls - w.calls) //nolint:gosec // calls are few
	h.granted = t.l.e.moment(time.Now())
	h.runs = 1
	t.nextFence++
	t.hold = h
	return h
}

// Key is the key that is held.
func (h *Hold) Key() string { return h.t.l.key }

// Owner is the owner id under which the lease is held.
func (h *Hold) Owner() string { return h.t.owner }

// TTL is the lease's life between renewals.
func (h *Hold) TTL() time.Duration { return h.t.opt.TTL }

// Exclusive reports whether nobody else can hold the key beside this hold.
func (h *Hold) Exclusive() bool { return h.t.opt.Limit == lease.Exclusive }

// AtLeast reports whether the hold keeps out everybody whom one with limit would.
func (h *Hold) AtLeast(limit lease.Limit) bool { return beside(h.t.opt.Limit) <= beside(limit) }

// beside is how many may be there, an exclusive holder being stricter than a
// limit of 1.
func beside(limit lease.Limit) int {
	if limit == lease.Shared {
		return math.MaxInt
	}
	return int(limit)
}

// Engine returns the engine that the hold came from.
func (h *Hold) Engine() *Engine { return h.t.l.e }

// Renewals counts the renewals that succeeded during the tenure.
func (h *Hold) Renewals() int {
	h.t.l.e.mu.Lock()
	defer h.t.l.e.mu.Unlock()
	return int(h.t.renewal.done)
}

// Live compares the clocks now and reports whether the lease is proven and the
// hold has not ended. What is bound is told of a loss by whoever finds it first,
// which may be another goroutine that is just about to.
func (h *Hold) Live() bool {
	if h.over.Load() {
		return false
	}
	h.t.check()
	return !h.t.lost.Load()
}

// Release is what came of giving a hold back.
type Release int32

// The outcomes. A hold that was passed on in the process is given back, and so is
// one whose release was sent twice, if the second found nothing: the first worked.
const (
	ReleaseDone   Release = iota
	ReleaseFailed         // not answered; a cleaner sees to it
	ReleaseLost           // it was not ours any more
)

// Released tells what came of the release, after End.
func (h *Hold) Released() Release { return Release(h.given.Load()) }

// Over reports whether the last run of the hold has ended.
func (h *Hold) Over() bool { return h.over.Load() }

// Surrender stops the best-effort renewal of a lost lease: the run has turned to
// acquiring the key anew, and would keep itself out.
func (h *Hold) Surrender() {
	e := h.t.l.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.t.lost.Load() && !h.over.Load() {
		e.unplanLocked(h.t)
		h.t.renewalOver = true
	}
}

// Mute undoes Notify and returns when no call is under way.
func (h *Hold) Mute() {
	e := h.t.l.e
	e.mu.Lock()
	h.listener = nil // from here on nothing is added to telling
	e.mu.Unlock()
	h.telling.Wait()
}

// Cause returns why the lease was lost, nil if it was not.
func (h *Hold) Cause() *Lost {
	if !h.t.lost.Load() {
		return nil
	}
	return h.t.cause
}

// TrustLeft is how long the lease is proven from now on, 0 if it is lost.
func (h *Hold) TrustLeft() time.Duration {
	if !h.Live() {
		return 0
	}
	return max(0, h.t.trustLeft(time.Now()))
}

// Bind has b told if the lease is lost; at once if it already is.
func (h *Hold) Bind(b Bound) {
	e := h.t.l.e
	e.mu.Lock()
	if !h.t.lost.Load() {
		if h.bound == nil {
			h.bound = h.one[:0]
		}
		h.bound = append(h.bound, b)
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	b.Lost(h, h.Cause())
}

// Unbind undoes Bind, unless b is being told.
func (h *Hold) Unbind(b Bound) {
	e := h.t.l.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := slices.Index(h.bound, b); i >= 0 {
		h.bound = slices.Delete(h.bound, i, i+1)
	}
}

// takeBoundLocked returns whom to tell. Nobody is bound after that: the lease is
// lost.
func (h *Hold) takeBoundLocked() []Bound {
	b := h.bound
	h.bound = nil
	return b
}

// Share adds a nested run, and reports false if the hold is not live any more.
// Each Share needs an End of its own.
func (h *Hold) Share() bool {
	if !h.Live() {
		return false
	}
	e := h.t.l.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.over.Load() {
		return false // ended between the look and the lock
	}
	h.runs++
	return true
}

// Listener is told what happens to the lease of a hold. It must not block for
// long: renewals wait for it.
type Listener interface {
	Happened(h *Hold, ev Event)
}

// Notify has to told of events while the hold lasts; End waits for calls under way.
// It is told at once of a loss before: that is found under the mutex, with a
// listener or without one, so to hears of it exactly once.
func (h *Hold) Notify(to Listener) {
	e := h.t.l.e
	var missed func()
	e.mu.Lock()
	h.listener = to
	if cause := h.Cause(); cause != nil {
		missed = h.tellLocked(lostEvent(cause))
	}
	e.mu.Unlock()
	if missed != nil {
		missed()
	}
}

// tellLocked returns a function that reports ev, to be called without the
// mutex, or nil if nobody listens. The hold does not end before it was called.
func (h *Hold) tellLocked(ev Event) func() {
	to := h.listener
	if to == nil || h.runs == 0 {
		return nil
	}
	h.telling.Add(1)
	return func() {
		defer h.telling.Done()
		to.Happened(h, ev)
	}
}

// tell reports ev at once.
func (h *Hold) tell(ev Event) {
	h.t.l.e.mu.Lock()
	report := h.tellLocked(ev)
	h.t.l.e.mu.Unlock()
	if report != nil {
		report()
	}
}

// StopRenewing ends trust because MaxHold has passed. The store's lease then
// expires by itself unless End comes first.
func (h *Hold) StopRenewing() {
	e := h.t.l.e
	e.mu.Lock()
	if h.over.Load() {
		e.mu.Unlock()
		return
	}
	lost := h.t.loseLocked(&Lost{Kind: ErrMaxHold, Reason: ReasonMaxHold})
	e.mu.Unlock()
	lost.tell()
}

// Ensure renews now unless at least d of trust is left, and returns the store's
// error if that failed. The caller looks at TrustLeft afterwards.
func (h *Hold) Ensure(ctx context.Context, d time.Duration) error {
	if h.TrustLeft() >= d || !h.Live() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.t.opt.renewTimeout())
	defer cancel()
	return h.t.l.e.renew(ctx, []*tenure{h.t})
}

// Event is something that happened to a lease while a run held it.
type Event struct {
	Kind   EventKind
	Err    error         // EventRenewFailed, EventLost, EventReleaseFailed
	Left   time.Duration // EventRenewed: trust that was left when the renewal succeeded
	Holder string        // EventLost: who has the key instead, if known
}

func lostEvent(cause *Lost) Event { return Event{Kind: EventLost, Err: cause, Holder: cause.Holder} }

// EventKind tells events apart.
type EventKind int

// The events.
const (
	EventRenewed EventKind = iota + 1
	EventRenewFailed
	EventLost
	EventReleaseFailed
)
