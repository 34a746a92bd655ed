package guard_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestRedisAsyncReleaseSavesARoundTripOverALink(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	g := onRedis(t, p.Addr())
	later := g.With(guard.AsyncRelease())
	must(t, g.Do(t.Context(), "first", nothing)) // makes a connection
	p.Delay(10 * time.Millisecond)
	best := func(g *guard.Guard, name string) time.Duration {
		least := time.Hour
		for i := range 10 {
			began := time.Now()
			must(t, g.Do(t.Context(), fmt.Sprint(name, i%2), nothing))
			least = min(least, time.Since(began))
		}
		return least
	}
	waits, returns := best(g, "waits"), best(later, "returns")
	if returns > waits*2/3 {
		t.Errorf("%v, %v without AsyncRelease: want a half", returns, waits)
	}
	must(t, g.Shutdown(t.Context()))
	if n := s.Client(t).Exists(t.Context(), "guard:returns0", "guard:returns1").Val(); n != 0 {
		t.Errorf("%d keys are held after Shutdown", n)
	}
}

func TestRedisAsyncReleaseTravelsWithTheNextAcquire(t *testing.T) {
	s := redistest.Start(t)
	admin := s.Client(t)
	g := onRedis(t, s.Addr())
	// The fewest times that the server read in 20 runs: a busy machine is now and then
	// too late for company.
	fewest := func(g *guard.Guard) int {
		least := 1 << 30
		for range 20 {
			before := reads(t, admin)
			for i := range 20 {
				must(t, g.Do(t.Context(), fmt.Sprint("k", i%4), nothing))
			}
			least = min(least, reads(t, admin)-before)
		}
		return least
	}
	fewest(g) // its keys are known
	waits, later := fewest(g), fewest(g.With(guard.AsyncRelease()))
	if waits < 40 || later > 30 {
		t.Errorf("20 runs took %d round trips, %d without AsyncRelease: want about 20 and 40", later, waits)
	}
}

// reads is how often the server read from connections.
func reads(t *testing.T, admin *redis.Client) int {
	t.Helper()
	for line := range strings.Lines(admin.Info(t.Context(), "stats").Val()) {
		if n, ok := strings.CutPrefix(line, "total_reads_processed:"); ok {
			reads, err := strconv.Atoi(strings.TrimSpace(n))
			must(t, err)
			return reads
		}
	}
	t.Fatal("INFO does not say how often it read")
	return 0
}

func TestRedisAsyncReleaseKeepsExclusionAndTokens(t *testing.T) {
	s := redistest.Start(t)
	const keys = 3
	var inside [keys]atomic.Int32
	var tokens [keys]atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for i := range 8 {
		g := onRedis(t, s.Addr(), guard.AsyncRelease())
		for j := range 3 {
			all.Go(func() {
				for n := i + j; ctx.Err() == nil; n++ {
					k := n % keys
					_ = g.Do(ctx, fmt.Sprint("k", k), func(ctx context.Context) error {
						if inside[k].Add(1) != 1 {
							t.Error("two at once")
						}
						token, _ := guard.Fence(ctx)
						if last := tokens[k].Swap(token); token <= last {
							t.Errorf("token %d after %d", token, last)
						}
						inside[k].Add(-1)
						return nil
					})
				}
			})
		}
	}
	all.Wait()
}
