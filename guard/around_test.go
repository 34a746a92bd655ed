package guard_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestNestedRunSeesTheLeasesAroundIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		_ = g.Do(t.Context(), "outer", func(ctx context.Context) error {
			want, _ := guard.Fence(ctx)
			return g.Do(ctx, "inner", func(ctx context.Context) error {
				if got, ok := guard.FenceOf(ctx, "outer"); !ok || got != want || !guard.Holding(ctx, "outer") {
					t.Errorf("FenceOf(outer) = %d %v, want %d", got, ok, want)
				}
				if err := guard.Ensure(ctx, time.Second); err != nil {
					t.Errorf("Ensure() = %v", err)
				}
				time.Sleep(time.Millisecond)
				store.Expire("outer")
				if err := guard.Ensure(ctx, 9*time.Second); !errors.Is(err, guard.ErrLost) {
					t.Errorf("Ensure() = %v with the outer key gone, want ErrLost", err)
				}
				return nil
			})
		})
	})
}

func TestEnsureLooksAtEveryKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, gone := range []string{"a", "b", "c"} {
			store := guardtest.NewStore()
			_ = newGuard(t, store).DoAll(t.Context(), []string{"a", "b", "c"}, func(ctx context.Context) error {
				time.Sleep(time.Millisecond)
				store.Expire(gone)
				err := guard.Ensure(ctx, 9*time.Second)
				var e *guard.Error
				if !errors.Is(err, guard.ErrLost) || !errors.As(err, &e) || e.Key != gone {
					t.Errorf("Ensure() = %v, want ErrLost of %s", err, gone)
				}
				return nil
			})
		}
	})
}

func TestNestedContextEndsForWhoeverSeesThatTheOuterLeaseIsLost(t *testing.T) {
	// In real time, as TestWhoeverSeesThatTheLeaseIsLostSeesItsContextEnded.
	for range 40 {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		_ = g.With(guard.TTL(50*time.Millisecond)).Do(t.Context(), "outer", func(ctx context.Context) error {
			return g.Do(ctx, "inner", func(ctx context.Context) error {
				store.Fail(errors.New("down")) // no renewals any more
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for guard.Holding(ctx, "outer") {
							continue
						}
						if ctx.Err() == nil {
							t.Error("the outer lease is lost and the inner ctx.Err() is nil")
						}
					})
				}
				wg.Wait()
				store.Fail(nil)
				return nil
			})
		})
	}
}

func TestNestedRunIsToldOfTheLossEvenIfItsFnReturnsNil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			err := g.Do(ctx, "k", func(ctx context.Context) error {
				store.Expire("k")
				<-ctx.Done()
				return nil
			})
			if !errors.Is(err, guard.ErrLost) {
				t.Errorf("nested Do() = %v, want ErrLost", err)
			}
			return nil
		})
		if !errors.Is(err, guard.ErrLost) {
			t.Errorf("Do() = %v, want ErrLost", err)
		}
	})
}
