package guardtest

import (
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// entry is what the store knows of one key: who holds it, and who waits. It
// is dropped when the answer is nobody and nobody.
type entry struct {
	held  bool
	owner string    // who holds it, any text
	until time.Time // when that ends; zero: never
	line  []waiter  // by ticket
}

type waiter struct {
	owner   string
	ticket  int64
	claim   time.Duration
	watched bool // when it last asked
}

// entryLocked returns the entry of key with an expired lease removed. Callers
// that change it end with tidyLocked.
func (s *Store) entryLocked(key string) *entry {
	e := s.keys[key]
	if e == nil {
		e = &entry{}
		s.keys[key] = e
	}
	if e.held && !e.until.IsZero() && !time.Now().Before(e.until) {
		e.free()
	}
	return e
}

func (s *Store) tidyLocked(key string) {
	if e := s.keys[key]; !e.held && len(e.line) == 0 {
		delete(s.keys, key)
	}
}

func (s *Store) acquireLocked(r lease.AcquireRequest) lease.AcquireReply {
	e := s.entryLocked(r.Key)
	defer s.tidyLocked(r.Key)

	if !e.held {
		s.skipGoneLocked(e, r.Owner)
	}
	free := !e.held && (len(e.line) == 0 || e.line[0].owner == r.Owner)
	if free || e.heldBy(r.Owner) {
		e.leave(r.Owner)
		e.hold(r.Owner, r.TTL)
		first, n := s.mintLocked(r.Fences)
		return lease.AcquireReply{Granted: true, Fence: first, Fences: n}
	}
	if !e.held { // no barging: it belongs to whoever waits
		s.handOnLocked(r.Key, e)
	}
	reply := lease.AcquireReply{Holder: e.owner, Remaining: e.remaining()}
	if r.Join {
		reply.Ticket = s.joinLocked(e, r)
		reply.Head = e.line[0].owner == r.Owner
	}
	return reply
}

// joinLocked puts r.Owner into the line, or finds it there, and returns its
// ticket. An owner that asks again without a ticket (the reply that gave it
// one was lost) keeps the place it has.
func (s *Store) joinLocked(e *entry, r lease.AcquireRequest) int64 {
	w := waiter{owner: r.Owner, ticket: r.Ticket, claim: r.Claim, watched: s.watchedLocked(r.Owner)}
	if i := e.place(r.Owner); i >= 0 && w.ticket == 0 {
		w.ticket = e.line[i].ticket
	}
	if w.ticket == 0 {
		s.tickets++
		w.ticket = s.tickets
	}
	e.leave(r.Owner)
	i := 0
	for i < len(e.line) && e.line[i].ticket <= w.ticket {
		i++
	}
	e.line = slices.Insert(e.line, i, w)
	return w.ticket
}

func (s *Store) renewLocked(r lease.RenewRequest) lease.RenewReply {
	e := s.entryLocked(r.Key)
	defer s.tidyLocked(r.Key)
	if !e.heldBy(r.Owner) {
		return lease.RenewReply{Holder: e.owner}
	}
	e.hold(r.Owner, r.TTL)
	return lease.RenewReply{Held: true}
}

func (s *Store) releaseLocked(r lease.ReleaseRequest) lease.ReleaseReply {
	e := s.entryLocked(r.Key)
	defer s.tidyLocked(r.Key)
	e.leave(r.Owner)
	released := e.heldBy(r.Owner)
	switch {
	case released && r.Close > 0:
		e.hold("closed|"+lease.OwnerName(r.Owner)+"|"+lease.Carrier(r.Owner), r.Close)
	case released:
		e.free()
	}
	if !e.held {
		s.handOnLocked(r.Key, e)
	}
	return lease.ReleaseReply{Released: released}
}

// handOnLocked grants a free key to the head of its line, if there is one.
func (s *Store) handOnLocked(key string, e *entry) {
	s.skipGoneLocked(e, "")
	if len(e.line) == 0 {
		return
	}
	head := e.line[0]
	e.line = e.line[1:]
	e.hold(head.owner, head.claim)
	s.wakeLocked(key, head.owner)
}

// skipGoneLocked drops waiters at the head that were watched when they last
// asked and no longer are: a grant would reach nobody. asking is here now,
// whatever it was.
func (s *Store) skipGoneLocked(e *entry, asking string) {
	for len(e.line) > 0 {
		head := e.line[0]
		if !head.watched || head.owner == asking || s.watchedLocked(head.owner) {
			return
		}
		e.line = e.line[1:]
	}
}

func (e *entry) heldBy(owner string) bool { return e.held && e.owner == owner }

func (e *entry) hold(owner string, ttl time.Duration) {
	e.held, e.owner, e.until = true, owner, time.Now().Add(ttl)
}

func (e *entry) holdForever(owner string) {
	e.held, e.owner, e.until = true, owner, time.Time{}
}

func (e *entry) free() { e.held, e.owner, e.until = false, "", time.Time{} }

func (e *entry) remaining() time.Duration {
	switch {
	case !e.held:
		return 0
	case e.until.IsZero():
		return -1
	}
	return time.Until(e.until)
}

// place returns the index of owner in the line, or -1.
func (e *entry) place(owner string) int {
	return slices.IndexFunc(e.line, func(w waiter) bool { return w.owner == owner })
}

func (e *entry) leave(owner string) {
	if i := e.place(owner); i >= 0 {
		e.line = slices.Delete(e.line, i, i+1)
	}
}
