package guardtest

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Watch implements [lease.Watcher]. wake is called on the goroutine whose call made
// the grant, before that call returns.
func (s *Store) Watch(owner string, wake lease.Waker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches[owner] = wake
}

// Unwatch implements [lease.Watcher].
func (s *Store) Unwatch(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watches, owner)
}

func (s *Store) watchedLocked(owner string) bool { return s.watches[owner] != nil }

// wakeLocked sends the message that w was granted key, with its token.
func (s *Store) wakeLocked(key string, w waiter) {
	wake := s.watches[w.owner]
	if wake == nil {
		return // the waiter only polls
	}
	s.calls[OpWake]++
	if s.takeFaultLocked(OpWake, key) != nil {
		return
	}
	var grant lease.Grant
	if w.limit == lease.Exclusive {
		grant.Fence, grant.TokenCount = s.mintLocked(max(1, w.place.GrantTokens))
		grant.Since = time.Now()
	}
	s.wakes = append(s.wakes, func() { wake.Woken(grant) })
}
