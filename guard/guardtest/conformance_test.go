package guardtest

import (
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		s := NewStore()
		return storetest.Fixture{
			A:      s,
			B:      s,
			Vanish: s.Expire,
			Revoke: func(key, reason string) {
				if err := s.Revoke(key, reason); err != nil {
					t.Error(err)
				}
			},
			Foreign: func(key, value string, ttl time.Duration) {
				if ttl == 0 {
					s.Hold(key, value)
					return
				}
				s.HoldFor(key, value, ttl)
			},
			TryForeign: func(key, value string, ttl time.Duration) bool {
				if _, held := s.Holder(key); held {
					return false
				}
				s.HoldFor(key, value, ttl)
				return true
			},
			Kept: func(key string) []string {
				s.Keys() // drops what has ended
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.keys[key] == nil {
					return nil
				}
				return []string{key}
			},
			Flush: func() { // as FLUSHALL would
				s.mu.Lock()
				defer s.mu.Unlock()
				clear(s.keys)
				s.fence = 0
			},
			Stall: func(d time.Duration) {
				s.Delay(2 * d) // calls reach the store at half time
				timer := time.AfterFunc(d, func() { s.Delay(0) })
				t.Cleanup(func() { timer.Stop() })
			},
		}
	})
}
