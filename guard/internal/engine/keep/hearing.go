package keep

import (
	"sync"
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
// from the first lease on, and when it has nothing to wait for it is not set.
type hearing struct {
	mu   *sync.Mutex                              // the Keeper's; it guards what follows
	held func(age time.Duration) (some, old bool) // is called with it: are there leases, and is one that old?
	told func(lease.Stop) bool                    // is called for each message

	store lease.Stopper // nil: leases are not asked to stop
	timer *time.Timer
	armed bool
	end   func() // nil: not listening
}

// beganLocked is called for each new lease.
func (e *hearing) beganLocked() {
	if e.store != nil && !e.armed && e.end == nil {
		e.wakeLocked(listenAfter)
	}
}

// endedLocked is called when the last lease has ended or is lost.
func (e *hearing) endedLocked() {
	if e.end != nil && !e.armed {
		e.wakeLocked(listenOn)
	}
}

func (e *hearing) wakeLocked(d time.Duration) {
	e.armed = true
	if e.timer == nil {
		e.timer = time.AfterFunc(d, e.wake)
		return
	}
	e.timer.Reset(d)
}

// wake begins or ends listening, on the timer's goroutine.
func (e *hearing) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.armed = false
	some, old := e.held(listenAfter)
	switch {
	case e.store == nil: // drained
	case !some:
		e.stopLocked()
	case e.end != nil:
	case old:
		e.end = e.store.Listen(e.told)
	default:
		e.wakeLocked(listenAfter)
	}
}

// closeLocked ends listening for good.
func (e *hearing) closeLocked() {
	e.store = nil
	e.stopLocked()
}

func (e *hearing) stopLocked() {
	if e.end != nil {
		e.end()
		e.end = nil
	}
}
