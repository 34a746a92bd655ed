package guard_test

import (
	"context"
	"sync"
	"testing"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/internal/redistest"
)

// Leases with local waiters reserve tokens ahead of the server's clock. None
// that were not used may still be reserved when the server forgets its counter.
func TestRedisFencesRiseOverAFlushRightAfterContention(t *testing.T) {
	s := redistest.Start(t)
	admin := s.Client(t)
	g, other := onRedis(t, s.Addr()), onRedis(t, s.Addr())
	for _, g := range []*guard.Guard{g, other} {
		must(t, g.Do(t.Context(), "warm-up", nothing))
	}
	for round := range 50 {
		var last int64 // guarded by the key
		run := func(ctx context.Context) error {
			token, ok := guard.Fence(ctx)
			if !ok || token <= last {
				t.Errorf("round %d: token %d %v after %d", round, token, ok, last)
			}
			last = token
			return nil
		}
		for range 3 { // the second lease would get what the first had reserved
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					noError(t, g.Do(t.Context(), "k", run))
				})
			}
			wg.Wait()
		}
		sent(t, admin.FlushAll(t.Context()))
		noError(t, other.Do(t.Context(), "k", run))
	}
}
