package guard_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestRedisLatestWins(t *testing.T) {
	server := redistest.Start(t)
	latestWins(t, []*guard.Guard{onRedis(t, server.Addr()), onRedis(t, server.Addr()), onRedis(t, server.Addr())})
}

func TestRedisClusterLatestWins(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	latestWins(t, []*guard.Guard{onClient(t, cluster.Client(t), nil), onClient(t, cluster.Client(t), nil)})
}

// Newcomers come faster than holders stop. No two runs overlap, and the last newcomer
// runs to its end.
func latestWins(t *testing.T, guards []*guard.Guard) {
	const newcomers = 12
	var inside, overlaps atomic.Int32
	results := make(chan error, newcomers)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // one that nobody replaces ends too
	defer cancel()
	for i := range newcomers {
		if i == newcomers-1 {
			// Were another one to ask later, it would replace the last: all have asked when
			// one is inside and the others are back.
			eventually(t, "one newcomer inside, all others replaced", func() bool {
				return len(results) == newcomers-2 && inside.Load() == 1
			})
		}
		g := guards[i%len(guards)].With(guard.Replace())
		go func() {
			results <- g.Do(ctx, "k", func(ctx context.Context) error {
				if inside.Add(1) > 1 {
					overlaps.Add(1)
				}
				defer inside.Add(-1)
				if i == newcomers-1 {
					time.Sleep(300 * time.Millisecond)
					return ctx.Err()
				}
				<-ctx.Done()
				time.Sleep(20 * time.Millisecond)
				return context.Cause(ctx)
			})
		}()
		time.Sleep(50 * time.Millisecond)
	}
	var won int
	for range newcomers {
		if err := <-results; err == nil {
			won++
		} else {
			wantError(t, err, guard.ErrReplaced)
		}
	}
	if n := overlaps.Load(); n > 0 || won != 1 {
		t.Errorf("%d overlaps, %d newcomers ran to the end, want 1", n, won)
	}
}
