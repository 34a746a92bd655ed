package guardtest

import (
	"slices"
	"time"
)

// Op names a call of the store, or a wake-up.
type Op string

// The calls of [lease.Store], and the wake-up after a grant.
const (
	OpAcquire Op = "acquire"
	OpRenew   Op = "renew"
	OpRelease Op = "release"
	OpWake    Op = "wake"

	OpFindHolder Op = "find holder"
	OpStop       Op = "stop" // a message to a holder
	OpReplace    Op = "replace"
)

// Fault makes calls fail. The zero Fault loses every request: the server is
// unreachable.
type Fault struct {
	Op  Op     // which calls; "" means all but wake-ups and messages to holders
	Key string // under which key; "" means any

	// Err is returned at once. nil means that no reply arrives: the call waits for
	// its context to end and returns that error.
	Err error

	// Lost: the call takes effect, only its reply is lost.
	Lost bool

	// Times is how many calls fail; a Renew counts once for each of its leases. 0
	// means all, until [Store.Fail](nil).
	Times int
}

// Inject adds a fault. The first fault that matches applies to a call, in the order of
// injection, so faults with Times make a script: fail twice, then lose a reply, then
// work.
//
// A fault of OpWake loses the wake-up, whatever Err and Lost are; the grant stands,
// and the waiter finds it by polling. One of OpStop likewise loses a message to a holder.
func (s *Store) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Fail makes every call fail with err and without effect, until Fail(nil). Both remove
// all earlier faults.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	if err != nil {
		s.faults = []*Fault{{Err: err}}
	}
}

// Delay makes each later call take d: half before it takes effect and half after. A
// call whose context ends in the first half has no effect; in the second half only the
// reply is lost. Both return when the context ends. 0 ends the delay. Wake-ups are not
// delayed.
func (s *Store) Delay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// Calls returns the number of round trips of op since the store was made, including
// failed ones. One Renew of many leases counts once. OpWake counts wake-ups sent.
func (s *Store) Calls(op Op) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

// takeFaultLocked returns the fault of one call, or nil, and counts it.
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
		return op != OpWake && op != OpStop
	}
	return f.Op == op
}
