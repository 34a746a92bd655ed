package guardtest

import (
	"slices"

	"github.com/jobguard/jobguard/guard/lease"
)

type watch struct{ wake func(lease.Grant) bool }

// Watch implements [lease.Watcher]. Wakes are called on the goroutine whose
// call made the grant, before that call returns.
func (s *Store) Watch(owner string, wake func(lease.Grant) bool) (stop func()) {
	w := &watch{wake}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches[owner] = append(s.watches[owner], w)
	return func() { s.unwatch(owner, w) }
}

func (s *Store) unwatch(owner string, w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := slices.DeleteFunc(s.watches[owner], func(other *watch) bool { return other == w })
	if len(rest) == 0 {
		delete(s.watches, owner)
		return
	}
	s.watches[owner] = rest
}

func (s *Store) watchedLocked(owner string) bool { return len(s.watches[owner]) > 0 }

// wakeLocked sends the message that w was granted key, with its token.
func (s *Store) wakeLocked(key string, w waiter) {
	watches := s.watches[w.owner]
	if len(watches) == 0 {
		return // a poll-only waiter
	}
	s.calls[OpWake]++
	if s.takeFaultLocked(OpWake, key) != nil {
		return
	}
	var grant lease.Grant
	if w.room == lease.Exclusive {
		grant.Fence, _ = s.mintLocked(1)
		grant.Since = w.asked
	}
	for _, w := range watches {
		s.news = append(s.news, func() { w.wake(grant) })
	}
}
