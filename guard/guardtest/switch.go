package guardtest

import (
	"slices"
	"time"
)

// Expire takes the lease of key away now, as if its TTL had passed or an
// operator had deleted it. Its holder learns of it at the next renewal. As in
// Redis nobody is woken: the next in line is granted the key when somebody
// asks. A stranger's lease made by [Store.Hold] ends in the same way.
func (s *Store) Expire(key string) {
	s.change(key, func(e *entry) { e.free() })
}

// Hold makes a stranger hold key, with no TTL, as another program's lock would.
// Whoever holds it now has been robbed and learns of it at the next renewal.
// [Store.Expire] ends it.
func (s *Store) Hold(key, owner string) {
	s.change(key, func(e *entry) { e.holdForever(owner) })
}

// HoldFor is [Store.Hold] with a TTL. With the present holder's id, which
// [Store.Holder] tells, it cuts that lease short.
func (s *Store) HoldFor(key, owner string, ttl time.Duration) {
	s.change(key, func(e *entry) { e.hold(owner, ttl) })
}

func (s *Store) change(key string, do func(*entry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(s.entryLocked(key))
	s.tidyLocked(key)
}

// Holder returns the owner id, or the stranger's text, under which key is held
// now. A key that a MinHold keeps shut is held by "closed|…".
func (s *Store) Holder(key string) (owner string, ok bool) {
	s.change(key, func(e *entry) { owner, ok = e.owner, e.held })
	return owner, ok
}

// Remaining returns how long the lease of key lives unless it is renewed: 0 if
// the key is free, negative if it never expires.
func (s *Store) Remaining(key string) (d time.Duration) {
	s.change(key, func(e *entry) { d = e.remaining() })
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
		if e := s.entryLocked(key); e.held || len(e.line) > 0 {
			live = append(live, key)
		}
		s.tidyLocked(key)
	}
	slices.Sort(live)
	return live
}
