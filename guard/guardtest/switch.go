package guardtest

import (
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Expire ends the lease of key now, as if its TTL had passed or an operator had
// deleted it; if several owners hold the key, all their leases. Each holder sees the
// loss at its next renewal. As in Redis no waiter is woken: the head of the queue is
// granted the key at the next request. It also ends a lock made by [Store.Hold]. To
// end one of several leases use [Store.HoldFor].
func (s *Store) Expire(key string) {
	s.change(key, func(k *keyState) { k.holders = nil })
}

// Hold makes another program hold key, without a TTL. Present holders lose the key and
// see it at their next renewal. [Store.Expire] ends it. With the owner id of a present
// holder it removes the TTL of that lease and does not change the others.
func (s *Store) Hold(key, owner string) {
	s.change(key, func(k *keyState) { k.set(owner, time.Time{}) })
}

// HoldFor is [Store.Hold] with a TTL. With the owner id of a present holder, from
// [Store.Holders], it makes that lease end after ttl, at once if ttl is 0, and does
// not change the others.
func (s *Store) HoldFor(key, owner string, ttl time.Duration) {
	s.change(key, func(k *keyState) { k.set(owner, time.Now().Add(ttl)) })
}

func (s *Store) change(key string, do func(*keyState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(s.stateLocked(key))
	s.tidyLocked(key)
}

// Holder returns the owner id, or another program's text, that holds key now;
// "closed|…" if a MinHold keeps the key closed. Of several holders it returns the
// first.
func (s *Store) Holder(key string) (owner string, ok bool) {
	s.change(key, func(k *keyState) { owner, ok = k.holder(), len(k.holders) > 0 })
	return owner, ok
}

// Holders returns the owner ids that hold key now, in the order of their grants: more
// than one only under guard.Limit or guard.Shared. A permit that a MinHold keeps taken
// is held by "closed|…".
func (s *Store) Holders(key string) (owners []string) {
	s.change(key, func(k *keyState) {
		for _, h := range k.holders {
			owners = append(owners, h.owner)
		}
	})
	return owners
}

// Remaining returns the time until key is free if no lease is renewed or released: 0
// if it is free, negative if it never will be. Of several leases the last one counts.
func (s *Store) Remaining(key string) (d time.Duration) {
	s.change(key, func(k *keyState) { d = k.remaining(lease.Exclusive) })
	return d
}

// Waiting returns the length of the queue of key. A guard has one candidate in it for
// all its waiters.
func (s *Store) Waiting(key string) (n int) {
	s.change(key, func(k *keyState) { n = len(k.queue) })
	return n
}

// Keys returns, sorted, the keys that have holders or waiters now. There are none
// when every run has released its lease.
func (s *Store) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var live []string
	for key := range s.keys {
		if k := s.stateLocked(key); len(k.holders) > 0 || len(k.queue) > 0 {
			live = append(live, key)
		}
		s.tidyLocked(key)
	}
	slices.Sort(live)
	return live
}
