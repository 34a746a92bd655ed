package guardtest

import (
	"math"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// entry is what the store knows of one key: who holds it, and who waits. It
// is dropped when the answer is nobody and nobody.
type entry struct {
	holders []holder // side by side, by time of grant; one alone if exclusive
	line    []waiter // by ticket
}

// holder is a lease, or a stranger's lock, or what a release with Close left of
// a lease.
type holder struct {
	owner string      // any text
	limit lease.Limit // of a stranger: lease.Exclusive
	until time.Time   // when it ends; zero: never
}

type waiter struct {
	owner       string
	limit       lease.Limit
	ticket      int64
	reservation time.Duration
	asked       time.Time // when it last did
	watched     bool      // at that time
}

// entryLocked returns the entry of key without the leases that expired. Callers
// that change it end with tidyLocked.
func (s *Store) entryLocked(key string) *entry {
	e := s.keys[key]
	if e == nil {
		e = &entry{}
		s.keys[key] = e
	}
	now := time.Now()
	e.holders = slices.DeleteFunc(e.holders, func(h holder) bool {
		return !h.until.IsZero() && !now.Before(h.until)
	})
	return e
}

func (s *Store) tidyLocked(key string) {
	if e := s.keys[key]; len(e.holders) == 0 && len(e.line) == 0 {
		delete(s.keys, key)
	}
}

func (s *Store) acquireLocked(r lease.AcquireRequest) lease.AcquireReply {
	e := s.entryLocked(r.Key)
	defer s.tidyLocked(r.Key)

	if i := e.lease(r.Owner, r.Limit); i >= 0 {
		e.leave(r.Owner)
		e.holders[i].extend(r.TTL)
		return s.grantedLocked(r)
	}
	s.handOnLocked(r.Key, e, r.Owner) // no barging: a place belongs to whoever waits
	if fits(e.holders, r.Limit) && !e.anybodyBefore(r.Owner, r.Ticket) {
		e.leave(r.Owner)
		e.admit(r.Owner, r.Limit, r.TTL)
		s.handOnLocked(r.Key, e, "") // those behind it may fit too
		return s.grantedLocked(r)
	}
	reply := lease.AcquireReply{Holder: e.holder(), Remaining: e.remaining(r.Limit)}
	if len(e.line) > 0 && e.line[0].owner != r.Owner { // nor before the line moves
		reply.Remaining = later(reply.Remaining, e.remaining(e.line[0].limit))
	}
	if r.Join {
		reply.Ticket = s.joinLocked(e, r)
		reply.Head = e.line[0].owner == r.Owner
	}
	return reply
}

func (s *Store) grantedLocked(r lease.AcquireRequest) lease.AcquireReply {
	if r.Limit != lease.Exclusive {
		return lease.AcquireReply{Granted: true}
	}
	first, n := s.mintLocked(r.TokenCount)
	return lease.AcquireReply{Granted: true, Fence: first, TokenCount: n}
}

// joinLocked puts r.Owner into the line, or finds it there, and returns its
// ticket. An owner that asks again without a ticket (the reply that gave it
// one was lost) keeps the place it has.
func (s *Store) joinLocked(e *entry, r lease.AcquireRequest) int64 {
	w := waiter{owner: r.Owner, limit: r.Limit, ticket: r.Ticket, reservation: r.Reservation, asked: time.Now(), watched: s.watchedLocked(r.Owner)}
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
	i := e.lease(r.Owner, r.Limit)
	if i < 0 {
		return lease.RenewReply{Holder: e.holder()}
	}
	e.holders[i].until = time.Now().Add(r.TTL)
	return lease.RenewReply{Held: true}
}

func (s *Store) releaseLocked(r lease.ReleaseRequest) lease.ReleaseReply {
	e := s.entryLocked(r.Key)
	defer s.tidyLocked(r.Key)
	e.leave(r.Owner)
	i := e.lease(r.Owner, r.Limit)
	switch {
	case i >= 0 && r.KeepClosed > 0:
		h := &e.holders[i]
		h.owner = lease.ClosedMarker(r.Owner)
		h.until = time.Now().Add(r.KeepClosed)
	case i >= 0:
		e.holders = slices.Delete(e.holders, i, i+1)
	}
	s.handOnLocked(r.Key, e, "")
	return lease.ReleaseReply{Released: i >= 0}
}

// handOnLocked grants the key to everybody at the front of the line for whom
// there is room: until it comes to the first who does not fit, or to asking, who
// is served by its own call.
//
// Waiters that were watched when they last asked, and no longer are, are
// dropped: a grant would reach nobody.
func (s *Store) handOnLocked(key string, e *entry, asking string) {
	for len(e.line) > 0 {
		head := e.line[0]
		if head.owner == asking || !fits(e.holders, head.limit) {
			return
		}
		e.line = e.line[1:]
		if head.watched && !s.watchedLocked(head.owner) {
			continue
		}
		e.admit(head.owner, head.limit, head.reservation)
		s.wakeLocked(key, head)
	}
}

// fits says whether one more of that limit may come to the holders: all of
// them, and the one who comes, must bear so many.
func fits(holders []holder, limit lease.Limit) bool {
	most := places(limit)
	for _, h := range holders {
		most = min(most, places(h.limit))
	}
	return len(holders) < most
}

// places is how many owners one of that limit bears, itself included.
func places(limit lease.Limit) int {
	switch limit {
	case lease.Shared:
		return math.MaxInt
	case lease.Exclusive:
		return 1
	}
	return int(limit)
}

// extend makes the lease last for ttl from now. It never shortens it, nor one
// without an end: a request that took its time may come after one that asked for
// more.
func (h *holder) extend(ttl time.Duration) {
	if until := time.Now().Add(ttl); !h.until.IsZero() && until.After(h.until) {
		h.until = until
	}
}

func (e *entry) admit(owner string, limit lease.Limit, ttl time.Duration) {
	e.holders = append(e.holders, holder{owner, limit, time.Now().Add(ttl)})
}

// lease returns the index of owner's lease among the holders, or -1. As on a
// server, where the two kinds are kept in different places, a lease is found
// only by requests of its own kind, exclusive or not.
func (e *entry) lease(owner string, limit lease.Limit) int {
	return slices.IndexFunc(e.holders, func(h holder) bool {
		return h.owner == owner && (h.limit == lease.Exclusive) == (limit == lease.Exclusive)
	})
}

// holder returns one of those who hold the key, the first that came, or "".
func (e *entry) holder() string {
	if len(e.holders) == 0 {
		return ""
	}
	return e.holders[0].owner
}

// remaining returns how long it takes until there is room for one more, if
// nobody renews or releases: 0 if there is now, negative if there never is.
func (e *entry) remaining(limit lease.Limit) (d time.Duration) {
	rest := slices.SortedStableFunc(slices.Values(e.holders), func(a, b holder) int {
		if a.until.IsZero() || b.until.IsZero() { // never comes last
			return b.until.Compare(a.until)
		}
		return a.until.Compare(b.until)
	})
	for !fits(rest, limit) { // there is when nobody is left
		if rest[0].until.IsZero() {
			return -1
		}
		d = time.Until(rest[0].until)
		rest = rest[1:]
	}
	return d
}

// later returns the greater of two remaining times; negative means never.
func later(a, b time.Duration) time.Duration {
	if a < 0 || b < 0 {
		return -1
	}
	return max(a, b)
}

// anybodyBefore says whether somebody stands in line before owner, who may be
// about to return to the place of an old ticket.
func (e *entry) anybodyBefore(owner string, ticket int64) bool {
	if len(e.line) == 0 || e.line[0].owner == owner {
		return false
	}
	return ticket == 0 || e.line[0].ticket < ticket
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

// set makes owner hold the key until then: alone, unless it is one of those
// who hold it now.
func (e *entry) set(owner string, until time.Time) {
	i := slices.IndexFunc(e.holders, func(h holder) bool { return h.owner == owner })
	if i < 0 {
		e.holders = []holder{{owner: owner, limit: lease.Exclusive, until: until}}
		return
	}
	e.holders[i].until = until
}
