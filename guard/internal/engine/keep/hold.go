package keep

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Hold is one run's share of a lease. Nested runs share it: it ends with the
// last of them.
type Hold struct {
	l *Lease

	Fence   int64 // for the caller to read
	granted instant
	outcome atomic.Int32 // a Release; unreleased while the hold goes on

	// Guarded by Keeper.mu. reporting only grows while runs > 0, so the end can wait
	// for it to be 0.
	runs      int32    // how many share the hold
	reporting int32    // events on their way to a listener
	observed  bool     // the first listener wants events
	bound     Listener // nil: none; several are a *bindings
}

// Release is the outcome of the release of a hold.
type Release int32

// The outcomes. A hold that was handed over in the process is released, and so is
// one whose release was sent twice, if the second found nothing: the first worked.
const (
	unreleased Release = iota // the hold goes on
	ReleaseDone
	ReleaseFailed // not answered; a cleaner goes on
	ReleaseLost   // another owner, or none, was found
)

// Event is something that happened to a lease during a hold.
type Event struct {
	Kind   EventKind
	Err    error         // EventRenewFailed, EventLost (a *Lost), EventReleaseFailed
	Left   time.Duration // EventRenewed: trust that was left when the renewal succeeded
	Holder string        // EventLost: who has the key instead, if known
}

// EventKind tells events apart.
type EventKind int

// The events.
const (
	EventRenewed EventKind = iota + 1
	EventRenewFailed
	EventLost
	EventReleaseFailed
)

func lostEvent(cause *Lost) Event { return Event{Kind: EventLost, Err: cause, Holder: cause.Holder} }

// NewHoldLocked makes the lease's next hold, with the next token.
func (l *Lease) NewHoldLocked(now time.Time) *Hold {
	h := &l.first
	if h.l != nil { // it was handed out before
		h = new(Hold)
		if l.terms.Limit == lease.Exclusive {
			h.Fence = l.holdLocked().Fence + 1
		}
		l.seldom().hold = h
	}
	h.l = l
	h.granted = l.k.instant(now)
	h.runs = 1
	return h
}

// holdLocked is the lease's present hold.
func (l *Lease) holdLocked() *Hold {
	if l.rare != nil && l.rare.hold != nil {
		return l.rare.hold
	}
	return &l.first
}

// lifeLocked is how long the store must keep l from now on, while it is held.
func (l *Lease) lifeLocked(now time.Time) time.Duration {
	closed := l.k.time(l.holdLocked().granted).Add(l.terms.MinHold)
	return max(l.terms.TTL, closed.Sub(now))
}

// Key is the key that is held.
func (h *Hold) Key() string { return h.l.key }

// Granted is when the hold began.
func (h *Hold) Granted() time.Time { return h.l.k.time(h.granted) }

// Owner is the owner id under which the lease is held.
func (h *Hold) Owner() string { return h.l.owner }

// Store is where the key is held.
func (h *Hold) Store() lease.Store { return h.l.k.store }

// TTL is the lease's life between renewals.
func (h *Hold) TTL() time.Duration { return h.l.terms.TTL }

// Exclusive reports whether no other owner can hold the key at the same time.
func (h *Hold) Exclusive() bool { return h.l.terms.Limit == lease.Exclusive }

// AtLeast reports whether the hold keeps out all that one with limit would.
func (h *Hold) AtLeast(limit lease.Limit) bool {
	return strictness(h.l.terms.Limit) <= strictness(limit)
}

// Renewals counts the renewals of the lease that succeeded.
func (h *Hold) Renewals() int {
	h.l.k.mu.Lock()
	defer h.l.k.mu.Unlock()
	return int(h.l.renewals)
}

// Live compares the clocks now and reports whether the lease is proven and the
// hold has not ended. Listeners are called by whichever goroutine finds a loss
// first, which may be another one that is just about to.
func (h *Hold) Live() bool {
	if h.Over() {
		return false
	}
	h.l.check()
	return !h.l.lost.Load()
}

// Released returns the outcome of the release, after End.
func (h *Hold) Released() Release { return Release(h.outcome.Load()) }

// Over reports whether the last run of the hold has ended.
func (h *Hold) Over() bool { return h.Released() != unreleased }

// Cause returns why the lease was lost, nil if it was not.
func (h *Hold) Cause() *Lost {
	if !h.l.lost.Load() {
		return nil
	}
	return h.l.rare.cause
}

// TrustLeft is how long the lease is proven from now on, 0 if it is lost.
func (h *Hold) TrustLeft() time.Duration {
	if !h.Live() {
		return 0
	}
	return max(0, h.l.trustLeft(time.Now()))
}

// Share adds a nested run, and reports false if the hold is not live any more.
// Each Share needs an End of its own.
func (h *Hold) Share() bool {
	if !h.Live() {
		return false
	}
	h.l.k.mu.Lock()
	defer h.l.k.mu.Unlock()
	if h.Over() {
		return false // ended between the look and the lock
	}
	h.runs++
	return true
}

// Ensure renews now unless at least d of trust is left, and returns the store's
// error if that failed. The caller looks at TrustLeft afterwards.
func (h *Hold) Ensure(ctx context.Context, d time.Duration) error {
	if h.TrustLeft() >= d || !h.Live() {
		return nil
	}
	attempt, cancel := context.WithTimeout(ctx, h.l.terms.renewTimeout(h.l.k.RoundTrip()))
	defer cancel()
	err := h.l.k.renew(attempt, []*Lease{h.l})
	if err != nil && ctx.Err() == nil {
		return StoreError(err)
	}
	return err
}

// StopRenewing ends trust because MaxHold has passed. The store's lease then
// expires by itself unless End comes first.
func (h *Hold) StopRenewing() {
	k := h.l.k
	k.mu.Lock()
	if h.Over() {
		k.mu.Unlock()
		return
	}
	lost := h.l.loseLocked(&Lost{Reason: MaxHold})
	k.mu.Unlock()
	lost.report()
}

// Surrender stops the best-effort renewal of a lost lease: the run has turned to
// acquiring the key anew, and would keep itself out.
func (h *Hold) Surrender() {
	h.l.k.mu.Lock()
	defer h.l.k.mu.Unlock()
	if h.l.lost.Load() && !h.Over() {
		h.l.stopRenewingLocked()
	}
}

// Bind adds a listener: to.Lost is called if the lease is lost or the run asked to stop,
// at once if it already is. With events to.Happened is called for each event, EventLost
// included, until Unbind or End has returned; only the first run of a hold may ask for them.
func (h *Hold) Bind(to Listener, events bool) {
	k := h.l.k
	k.mu.Lock()
	if h.bound == nil {
		h.bound, h.observed = to, events
	} else { // bound by the run around this one
		h.bound = &bindings{to, h.bound}
	}
	cause := h.Cause()
	lost := cause != nil
	if !lost {
		cause = h.l.stoppedLocked()
	}
	var missed func()
	if lost && events {
		missed = h.eventLocked(lostEvent(cause))
	}
	k.mu.Unlock()
	if cause != nil {
		to.Lost(h, cause)
	}
	if missed != nil {
		missed()
	}
}

// Unbind undoes Bind. It waits for an event that is on its way, but not for Lost.
func (h *Hold) Unbind(to Listener) {
	h.l.k.mu.Lock()
	first := h.firstLocked() == to
	h.bound = without(h.bound, to)
	var reported <-chan struct{}
	if first {
		h.observed = false
		reported = h.reportedLocked()
	}
	h.l.k.mu.Unlock()
	wait(reported)
}

// eventLocked returns a function that reports ev, to be called without the mutex,
// or nil if no listener wants events. The hold does not end before it was called.
func (h *Hold) eventLocked(ev Event) func() {
	if h.runs == 0 || !h.observed {
		return nil
	}
	first := h.firstLocked()
	h.reporting++
	return func() {
		defer h.reported()
		first.Happened(h, ev)
	}
}

// reported notes that an event has been reported.
func (h *Hold) reported() {
	k := h.l.k
	k.mu.Lock()
	defer k.mu.Unlock()
	h.reporting--
	if all := k.awaited[h]; h.reporting == 0 && all != nil {
		close(all)
		delete(k.awaited, h)
	}
}

// reportedLocked returns what is closed when every event has been reported; nil if they
// have been. No listener is left that could make reporting grow.
func (h *Hold) reportedLocked() <-chan struct{} {
	if h.reporting == 0 {
		return nil
	}
	k := h.l.k
	if k.awaited[h] == nil {
		k.awaited[h] = make(chan struct{})
	}
	return k.awaited[h]
}

// wait waits for what reportedLocked returned.
func wait(reported <-chan struct{}) {
	if reported != nil {
		<-reported
	}
}

// firstLocked is the listener that was bound first, of those that are.
func (h *Hold) firstLocked() (first Listener) {
	for l := range listeners(h.bound) {
		first = l
	}
	return first
}

// event reports ev at once.
func (h *Hold) event(ev Event) {
	h.l.k.mu.Lock()
	report := h.eventLocked(ev)
	h.l.k.mu.Unlock()
	if report != nil {
		report()
	}
}

// lostLocked returns the listeners to call because the lease was lost.
func (h *Hold) lostLocked(cause *Lost) loss {
	return loss{h: h, cause: cause, bound: h.bound, event: h.eventLocked(lostEvent(cause))}
}

// loss is a lost lease, or one that ends with its run, that has not been reported yet: first come the listeners'
// Lost, then the event, which may take its time.
type loss struct {
	h     *Hold
	cause *Lost
	bound Listener
	event func() // nil without a listener
}

func (l loss) cancel() {
	for to := range listeners(l.bound) {
		to.Lost(l.h, l.cause)
	}
}

// report calls all, on this goroutine.
func (l loss) report() {
	l.cancel()
	if l.event != nil {
		l.event()
	}
}

// reportAll cancels everything, and then reports each event on a goroutine of
// its own: a slow listener delays no other run. End waits for these goroutines.
func reportAll(losses []loss) {
	for _, l := range losses {
		l.cancel()
	}
	for _, l := range losses {
		if l.event != nil {
			go l.event()
		}
	}
}
