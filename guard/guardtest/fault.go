package guardtest

import (
	"slices"
	"time"
)

// Op names what passes between a guard and its store.
type Op string

// The calls of [lease.Store], and the message that wakes a waiter after a
// grant.
const (
	OpAcquire Op = "acquire"
	OpRenew   Op = "renew"
	OpRelease Op = "release"
	OpWake    Op = "wake"

	OpFindHolder Op = "find holder"
)

// Fault is one way in which calls go wrong. The zero Fault swallows every
// request without a reply: the server is unreachable.
type Fault struct {
	Op  Op     // which calls; "" means all but wakes
	Key string // under which key; "" means any

	// Err is what the calls return, at once. nil means that no reply comes:
	// the call waits for its context to end and returns that error.
	Err error

	// Lost makes the call take effect: only its reply is lost.
	Lost bool

	// Times is how many calls go wrong, a Renew counting once for each of its
	// leases. 0 means all, until [Store.Fail](nil).
	Times int
}

// Inject adds a fault. A call suffers the first fault that matches it, in the
// order of injection, so faults with Times make a script: fail twice, then
// lose a reply, then work.
//
// A fault of OpWake loses the message, whatever Err and Lost say; the grant
// stands. Waiters must find it by asking.
func (s *Store) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Fail makes every call fail with err and without effect, until Fail(nil).
// Either way it removes the faults that were there before.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	if err != nil {
		s.faults = []*Fault{{Err: err}}
	}
}

// Delay makes each later call take d: half passes before it takes effect and
// half after. A call whose context ends in the first half has no effect; one
// whose context ends in the second half has, though its reply is lost. Either
// returns when its context ends. 0 makes calls instant again. Wakes are not
// delayed.
func (s *Store) Delay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// Calls returns how many times op was called since the store was made, failed
// calls included: that is, round trips. One Renew of many leases counts once.
// OpWake counts messages sent to watchers.
func (s *Store) Calls(op Op) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

// takeFaultLocked returns what happens to one call, or nil, and counts it.
func (s *Store) takeFaultLocked(op Op, key string) *Fault {
	i := slices.IndexFunc(s.faults, func(f *Fault) bool { return f.matches(op, key) })
	if i < 0 {
		return nil
	}
	f := s.faults[i]
	if f.Times > 0 {
		f.Times--
		if f.Times == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
	}
	return f
}

func (f *Fault) matches(op Op, key string) bool {
	if f.Key != "" && f.Key != key {
		return false
	}
	if f.Op == "" {
		return op != OpWake
	}
	return f.Op == op
}
