package keep

import (
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

const (
	// listenAfter is how old a lease must be for the Keeper to listen: a subscription
	// for runs that are shorter would cost more than they do.
	listenAfter = 100 * time.Millisecond
	// listenOn is how long it listens after the last lease has ended.
	listenOn = 250 * time.Millisecond
)

// hearing is how a Keeper hears that holders are asked to stop. It listens from when a
// lease is listenAfter old until listenOn after the last has ended. Its timer runs only
// from the first lease on, and when it has nothing to wait for it is not set. Guarded
// by Keeper.mu.
type hearing struct {
	store lease.Stopper // nil: leases are not asked to stop
	timer *time.Timer
	armed bool
	end   func() // nil: not listening
}

// beganLocked is called for each new lease.
func (k *Keeper) beganLocked() {
	if e := &k.hearing; e.store != nil && !e.armed && e.end == nil {
		k.hearAfterLocked(listenAfter)
	}
}

// endedLocked is called when a lease has ended or is lost.
func (k *Keeper) endedLocked() {
	if e := &k.hearing; e.end != nil && !e.armed && len(k.expiries.entries) == 0 {
		k.hearAfterLocked(listenOn)
	}
}

func (k *Keeper) hearAfterLocked(d time.Duration) {
	e := &k.hearing
	e.armed = true
	if e.timer == nil {
		e.timer = time.AfterFunc(d, k.hear)
		return
	}
	e.timer.Reset(d)
}

// hear begins or ends listening, on the timer's goroutine.
func (k *Keeper) hear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := &k.hearing
	e.armed = false
	switch {
	case e.store == nil: // drained
	case len(k.expiries.entries) == 0:
		k.deafenLocked()
	case e.end != nil:
	case k.hasOldLocked():
		e.end = e.store.Listen(k.Stop)
	default:
		k.hearAfterLocked(listenAfter)
	}
}

func (k *Keeper) hasOldLocked() bool {
	now := time.Now()
	for _, x := range k.expiries.entries {
		if x.l.Age(now) >= listenAfter {
			return true
		}
	}
	return false
}

func (k *Keeper) deafenLocked() {
	if k.hearing.end != nil {
		k.hearing.end()
		k.hearing.end = nil
	}
}

// Stop ends the contexts under the lease of s.Owner, and reports whether it has one here.
func (k *Keeper) Stop(s lease.Stop) (told bool) {
	k.mu.Lock()
	asked := func() {}
	for _, all := range []entryHeap{k.expiries.entries, k.renewals.entries} { // a lost lease is in the second only
		for _, x := range all {
			if x.l.owner == s.Owner {
				asked, told = x.l.StopLocked(s), true
			}
		}
		if told {
			break
		}
	}
	k.mu.Unlock()
	asked()
	return told
}

// StopLocked is Stop of l. It returns what tells the run, to be called without the mutex.
//
// Unless the lease was broken it is not lost: trust, renewals and the token go on until
// the run has returned, so that no other run overlaps it.
func (l *Lease) StopLocked(s lease.Stop) (tell func()) {
	cause := &Lost{Reason: Revoked}
	switch s.Kind {
	case lease.Broken:
		return l.loseLocked(&Lost{Reason: NotOwner, Err: errBroken}).report
	case lease.Revoked:
	case lease.Replaced:
		cause.Reason = Replaced
	default: // of a later version
		return func() {}
	}
	if l.ended || l.lost.Load() || l.stoppedLocked() != nil {
		return func() {}
	}
	if s.Text != "" {
		cause.Err = errors.New(s.Text)
	}
	l.seldom().stopped = cause
	return loss{h: l.hold, cause: cause, bound: l.hold.boundLocked()}.report
}

// stoppedLocked is why the run of l was asked to stop, nil if it was not.
func (l *Lease) stoppedLocked() *Lost {
	if l.rare == nil {
		return nil
	}
	return l.rare.stopped
}

var errBroken = errors.New("an operator has broken the lease")
