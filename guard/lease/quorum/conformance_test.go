package quorum

import (
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/storetest"
)

func TestConformanceInMemory(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"3 nodes": 3, "5 nodes": 5} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Fixture { return memoryFixture(t, n) })
		})
	}
}

func memoryFixture(t *testing.T, n int) storetest.Fixture {
	nodes := make([]*guardtest.Store, n)
	stores := make([]lease.Store, n)
	for i := range nodes {
		nodes[i] = guardtest.NewStore()
		stores[i] = nodes[i]
	}
	each := func(do func(s *guardtest.Store)) {
		for _, s := range nodes {
			do(s)
		}
	}
	hold := func(key, value string, ttl time.Duration) {
		each(func(s *guardtest.Store) {
			if ttl == 0 {
				s.Hold(key, value)
			} else {
				s.HoldFor(key, value, ttl)
			}
		})
	}
	return storetest.Fixture{
		A: mustNew(t, stores...), B: mustNew(t, stores...),
		NoQueue: true, NoLimit: true, NoGrants: true,
		Vanish:  func(key string) { each(func(s *guardtest.Store) { s.Expire(key) }) },
		Foreign: hold,
		TryForeign: func(key, value string, ttl time.Duration) bool {
			for _, s := range nodes {
				if _, held := s.Holder(key); held {
					return false
				}
			}
			hold(key, value, ttl)
			return true
		},
		Kept: func(key string) (kept []string) {
			for _, s := range nodes {
				for _, k := range s.Keys() {
					if k == key {
						kept = append(kept, k)
					}
				}
			}
			return kept
		},
		Stall: func(d time.Duration) {
			each(func(s *guardtest.Store) { s.Delay(2 * d) })
			end := func() { each(func(s *guardtest.Store) { s.Delay(0) }) }
			timer := time.AfterFunc(d, end)
			t.Cleanup(func() { timer.Stop(); end() })
		},
	}
}

func mustNew(t testing.TB, stores ...lease.Store) *Store {
	t.Helper()
	s, err := New(stores...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
