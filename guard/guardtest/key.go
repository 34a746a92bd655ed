package guardtest

import (
	"math"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// keyState is the holders and the queue of one key. It is dropped when both are
// empty.
type keyState struct {
	holders []holder // by time of grant; only one if exclusive
	queue   []waiter // by ticket
}

// holder is a lease, another program's lock, or a closed marker.
type holder struct {
	owner string      // any text
	limit lease.Limit // of another program: lease.Exclusive
	until time.Time   // when it ends; zero: never
}

type waiter struct {
	owner   string
	limit   lease.Limit
	ticket  int64
	place   lease.Place
	asked   time.Time // time of its last request
	watched bool      // at that time
}

// dead reports whether w has not asked for longer than it is presumed alive.
func (w waiter) dead() bool {
	patience := w.place.Patience()
	return patience > 0 && time.Since(w.asked) > patience
}

// stateLocked returns the state of key without expired leases. Callers that change
// it end with tidyLocked.
func (s *Store) stateLocked(key string) *keyState {
	k := s.keys[key]
	if k == nil {
		k = &keyState{}
		s.keys[key] = k
	}
	now := time.Now()
	k.holders = slices.DeleteFunc(k.holders, func(h holder) bool {
		return !h.until.IsZero() && !now.Before(h.until)
	})
	return k
}

func (s *Store) tidyLocked(key string) {
	if k := s.keys[key]; len(k.holders) == 0 && len(k.queue) == 0 {
		delete(s.keys, key)
	}
}

func (s *Store) acquireLocked(r lease.AcquireRequest) lease.AcquireReply {
	k := s.stateLocked(r.Key)
	defer s.tidyLocked(r.Key)

	if i := k.lease(r.Owner, r.Limit); i >= 0 {
		k.leave(r.Owner)
		k.holders[i].extend(r.TTL)
		return s.grantedLocked(r)
	}
	s.handOnLocked(r.Key, k, r.Owner) // waiters come first
	if fits(k.holders, r.Limit) && !k.hasWaiterBefore(r.Owner, r.Ticket) {
		k.leave(r.Owner)
		k.admit(r.Owner, r.Limit, r.TTL)
		s.handOnLocked(r.Key, k, "") // waiters behind it may fit too
		return s.grantedLocked(r)
	}
	reply := lease.AcquireReply{Holder: k.holder(), Remaining: k.remaining(r.Limit)}
	reply.Foreign = lease.OwnerProcess(reply.Holder) == "" && !lease.KeptClosed(reply.Holder)
	if len(k.queue) > 0 && k.queue[0].owner != r.Owner { // nor before the head is granted
		reply.Remaining = later(reply.Remaining, k.remaining(k.queue[0].limit))
	}
	if r.Join {
		reply.Ticket = s.joinLocked(k, r)
		reply.Head = k.queue[0].owner == r.Owner
		reply.Watched = s.watchedLocked(r.Owner)
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

// joinLocked puts r.Owner into the queue, if it is not in it, and returns its ticket.
// An owner that asks again without a ticket, since the reply was lost, keeps its place.
func (s *Store) joinLocked(k *keyState, r lease.AcquireRequest) int64 {
	w := waiter{owner: r.Owner, limit: r.Limit, ticket: r.Ticket, place: r.Place, asked: time.Now(), watched: s.watchedLocked(r.Owner)}
	if i := k.place(r.Owner); i >= 0 && w.ticket == 0 {
		w.ticket = k.queue[i].ticket
	}
	if w.ticket == 0 {
		s.tickets++
		w.ticket = s.tickets
	}
	k.leave(r.Owner)
	i := 0
	for i < len(k.queue) && k.queue[i].ticket <= w.ticket {
		i++
	}
	k.queue = slices.Insert(k.queue, i, w)
	return w.ticket
}

func (s *Store) renewLocked(r lease.RenewRequest) lease.RenewReply {
	k := s.stateLocked(r.Key)
	defer s.tidyLocked(r.Key)
	i := k.lease(r.Owner, r.Limit)
	if i < 0 {
		return lease.RenewReply{Holder: k.holder()}
	}
	until := time.Now().Add(r.TTL)
	if r.Fence > 0 && until.Before(k.holders[i].until) {
		until = k.holders[i].until
	}
	k.holders[i].until = until
	if r.Fence > 0 {
		s.fence = max(s.fence+1, r.Fence)
	}
	return lease.RenewReply{Held: true}
}

func (s *Store) releaseLocked(r lease.ReleaseRequest) lease.ReleaseReply {
	k := s.stateLocked(r.Key)
	defer s.tidyLocked(r.Key)
	k.leave(r.Owner)
	i := k.lease(r.Owner, r.Limit)
	switch {
	case i >= 0 && r.KeepClosed > 0:
		h := &k.holders[i]
		h.owner = lease.ClosedMarker(r.Owner)
		h.until = time.Now().Add(r.KeepClosed)
	case i >= 0:
		k.holders = slices.Delete(k.holders, i, i+1)
	}
	s.handOnLocked(r.Key, k, "")
	return lease.ReleaseReply{Released: i >= 0}
}

// handOnLocked grants the key to all at the front of the queue that fit, up to the
// first that does not, or to asking, whose own call grants it.
//
// Waiters that were watched at their last request, and no longer are, are dropped: no
// wake-up would reach them. So are those presumed dead.
func (s *Store) handOnLocked(key string, k *keyState, asking string) {
	for len(k.queue) > 0 {
		head := k.queue[0]
		if head.owner == asking {
			return
		}
		if head.watched && !s.watchedLocked(head.owner) || head.dead() {
			k.queue = k.queue[1:]
			continue
		}
		if !fits(k.holders, head.limit) {
			return
		}
		k.queue = k.queue[1:]
		k.admit(head.owner, head.limit, head.place.Reservation)
		s.wakeLocked(key, head)
	}
}

// fits reports whether one more holder with this limit is allowed by its own limit and
// by those of the holders.
func fits(holders []holder, limit lease.Limit) bool {
	most := capacity(limit)
	for _, h := range holders {
		most = min(most, capacity(h.limit))
	}
	return len(holders) < most
}

// capacity is how many holders a limit allows, its owner included.
func capacity(limit lease.Limit) int {
	switch limit {
	case lease.Shared:
		return math.MaxInt
	case lease.Exclusive:
		return 1
	}
	return int(limit)
}

// extend makes the lease last for ttl from now. It never shortens a lease: a delayed
// request may arrive after one with a longer TTL.
func (h *holder) extend(ttl time.Duration) {
	if until := time.Now().Add(ttl); !h.until.IsZero() && until.After(h.until) {
		h.until = until
	}
}

func (k *keyState) admit(owner string, limit lease.Limit, ttl time.Duration) {
	k.holders = append(k.holders, holder{owner, limit, time.Now().Add(ttl)})
}

// lease returns the index of owner's lease among the holders, or -1. As on a server,
// which keeps the two kinds under different keys, a lease is found only by requests of
// its kind, exclusive or not.
func (k *keyState) lease(owner string, limit lease.Limit) int {
	return slices.IndexFunc(k.holders, func(h holder) bool {
		return h.owner == owner && (h.limit == lease.Exclusive) == (limit == lease.Exclusive)
	})
}

// holder returns the owner of the oldest lease, or "".
func (k *keyState) holder() string {
	if len(k.holders) == 0 {
		return ""
	}
	return k.holders[0].owner
}

// remaining returns the time until one more holder fits if no lease is renewed or
// released: 0 if it fits now, negative if it never will.
func (k *keyState) remaining(limit lease.Limit) (d time.Duration) {
	rest := slices.SortedStableFunc(slices.Values(k.holders), func(a, b holder) int {
		if a.until.IsZero() || b.until.IsZero() { // never is last
			return b.until.Compare(a.until)
		}
		return a.until.Compare(b.until)
	})
	for !fits(rest, limit) { // it fits when no holder is left
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

// hasWaiterBefore reports whether a waiter is before owner, which may be about to
// return to its place by ticket.
func (k *keyState) hasWaiterBefore(owner string, ticket int64) bool {
	if len(k.queue) == 0 || k.queue[0].owner == owner {
		return false
	}
	return ticket == 0 || k.queue[0].ticket < ticket
}

// place returns the index of owner in the queue, or -1.
func (k *keyState) place(owner string) int {
	return slices.IndexFunc(k.queue, func(w waiter) bool { return w.owner == owner })
}

func (k *keyState) leave(owner string) {
	if i := k.place(owner); i >= 0 {
		k.queue = slices.Delete(k.queue, i, i+1)
	}
}

// set makes owner hold the key until then: exclusively, unless it is a holder now.
func (k *keyState) set(owner string, until time.Time) {
	i := slices.IndexFunc(k.holders, func(h holder) bool { return h.owner == owner })
	if i < 0 {
		k.holders = []holder{{owner: owner, limit: lease.Exclusive, until: until}}
		return
	}
	k.holders[i].until = until
}
