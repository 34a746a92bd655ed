package guardtest

import (
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Expire takes the lease of key away now, as if its TTL had passed or an
// operator had deleted it; if several hold the key, all of their leases. Each
// holder learns of it at the next renewal. As in Redis nobody is woken: the next
// in line is granted the key when somebody asks. A stranger's lease made by
// [Store.Hold] ends in the same way. To end one of several leases use
// [Store.HoldFor].
func (s *Store) Expire(key string) {
	s.change(key, func(e *entry) { e.holders = nil })
}

// Hold makes a stranger hold key, with no TTL, as another program's lock would.
// Whoever holds it now, alone or with others, has been robbed and learns of it
// at the next renewal. [Store.Expire] ends it. With a present holder's id it
// takes the TTL away from that lease and leaves the others alone.
func (s *Store) Hold(key, owner string) {
	s.change(key, func(e *entry) { e.set(owner, time.Time{}) })
}

// HoldFor is [Store.Hold] with a TTL. With a present holder's id, which
// [Store.Holders] tells, it cuts that lease short, to nothing if ttl is 0, and
// leaves the others alone.
func (s *Store) HoldFor(key, owner string, ttl time.Duration) {
	s.change(key, func(e *entry) { e.set(owner, time.Now().Add(ttl)) })
}

func (s *Store) change(key string, do func(*entry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(s.entryLocked(key))
	s.tidyLocked(key)
}

// Holder returns the owner id, or the stranger's text, under which key is held
// now. A key that a MinHold keeps shut is held by "closed|…". Of several holders
// it returns the one that came first.
func (s *Store) Holder(key string) (owner string, ok bool) {
	s.change(key, func(e *entry) { owner, ok = e.holder(), len(e.holders) > 0 })
	return owner, ok
}

// Holders returns all who hold key now, in the order in which they came: more
// than one only under guard.Limit or guard.Shared. A place that a MinHold keeps
// taken is held by "closed|…".
func (s *Store) Holders(key string) (owners []string) {
	s.change(key, func(e *entry) {
		for _, h := range e.holders {
			owners = append(owners, h.owner)
		}
	})
	return owners
}

// Remaining returns how long it takes until key is free, unless a lease is
// renewed or given back: 0 if it is, negative if it never will be. Of several
// leases the last one counts.
func (s *Store) Remaining(key string) (d time.Duration) {
	s.change(key, func(e *entry) { d = e.remaining(lease.Exclusive) })
	return d
}

// Waiting returns how many owners stand in line for key. A guard stands in
// line once for all its waiting callers.
func (s *Store) Waiting(key string) (n int) {
	s.change(key, func(e *entry) { n = len(e.line) })
	return n
}

// Keys returns, sorted, the keys that are held or waited for now. None are
// left when every run gave its lease back.
func (s *Store) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var live []string
	for key := range s.keys {
		if e := s.entryLocked(key); len(e.holders) > 0 || len(e.line) > 0 {
			live = append(live, key)
		}
		s.tidyLocked(key)
	}
	slices.Sort(live)
	return live
}
