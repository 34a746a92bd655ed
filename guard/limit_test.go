package guard_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// crowd runs n calls of do at once and returns how many were inside together at
// the most.
func crowd(t *testing.T, n int, do func(i int, fn func(context.Context) error) error) (most int32) {
	t.Helper()
	var inside, peak atomic.Int32
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			noError(t, do(i, func(ctx context.Context) error {
				now := inside.Add(1)
				for was := peak.Load(); now > was && !peak.CompareAndSwap(was, now); was = peak.Load() {
					continue
				}
				time.Sleep(5 * time.Millisecond)
				inside.Add(-1)
				return ctx.Err()
			}))
		})
	}
	wg.Wait()
	return peak.Load()
}

func TestLimitLetsNInAtOnceFleetWide(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		most := crowd(t, 30, func(i int, fn func(context.Context) error) error {
			return []*guard.Guard{a, b}[i%2].Do(t.Context(), "k", fn)
		})
		if most != 3 {
			t.Errorf("%d at once, want 3", most)
		}
	}, guard.Limit(3))
}

func TestSharedRunsExcludeOnlyExclusiveOnes(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		readers := g.With(guard.Shared())
		var writing atomic.Bool
		most := crowd(t, 20, func(_ int, fn func(context.Context) error) error {
			return readers.Do(t.Context(), "k", func(ctx context.Context) error {
				if writing.Load() {
					t.Error("a reader together with the writer")
				}
				return fn(ctx)
			})
		})
		if most != 20 {
			t.Errorf("%d readers at once, want 20", most)
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				noError(t, readers.Do(t.Context(), "k", func(context.Context) error {
					time.Sleep(time.Second)
					if writing.Load() {
						t.Error("the writer together with a reader")
					}
					return nil
				}))
			})
		}
		synctest.Wait()
		noError(t, g.Do(t.Context(), "k", func(context.Context) error {
			writing.Store(true)
			defer writing.Store(false)
			time.Sleep(time.Second)
			return nil
		}))
		wg.Wait()
		noneLeft(t, store)
	})
}

func TestLongRunsUnderALimitAreRenewed(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		_ = crowd(t, 2, func(i int, _ func(context.Context) error) error {
			return []*guard.Guard{a, b}[i].Do(t.Context(), "k", func(ctx context.Context) error {
				time.Sleep(30 * time.Second)
				wantError(t, a.With(guard.Wait(0)).Do(context.WithoutCancel(t.Context()), "k", nothing), guard.ErrBusy)
				time.Sleep(30 * time.Second)
				return ctx.Err()
			})
		})
	}, guard.Limit(2))
}
