package guard_test

import (
	"context"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestFenceRisesWithEveryRun(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		var last int64
		for i := range 30 {
			g := a
			if i%3 == 0 {
				g = b
			}
			if i%5 == 0 {
				store.Expire("k")
			}
			err := g.Do(t.Context(), "k", func(ctx context.Context) error {
				token, ok := guard.Fence(ctx)
				if of, okOf := guard.FenceOf(ctx, "k"); !ok || !okOf || of != token {
					t.Errorf("Fence %d %v, FenceOf %d %v", token, ok, of, okOf)
				}
				if token <= last {
					t.Errorf("token %d after %d", token, last)
				}
				last = token
				return nil
			})
			must(t, err)
		}
	})
}

func TestFenceRisesOverLocalHandoff(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		var last int64
		done := make(chan error)
		for range 100 {
			go func() {
				done <- g.Do(context.Background(), "k", func(ctx context.Context) error {
					token, ok := guard.Fence(ctx)
					if !ok || token <= last {
						t.Errorf("token %d after %d", token, last)
					}
					last = token
					time.Sleep(time.Millisecond)
					return nil
				})
			}()
		}
		for range 100 {
			noError(t, <-done)
		}
		if n := store.Calls(guardtest.OpAcquire); n > 50 {
			t.Errorf("%d acquires for 100 runs in one process", n)
		}
	})
}

func TestOutsideARunThereIsNoFence(t *testing.T) {
	if _, ok := guard.Fence(t.Context()); ok {
		t.Error("Fence")
	}
	if _, ok := guard.FenceOf(t.Context(), "k"); ok {
		t.Error("FenceOf")
	}
	if guard.Holding(t.Context(), "k") {
		t.Error("Holding")
	}
	wantError(t, guard.Ensure(t.Context(), time.Second), guard.ErrLost)
}

func TestRunsUnderLimitAndSharedHaveNoFence(t *testing.T) {
	g := newGuard(t, guardtest.NewStore())
	for name, opt := range map[string]guard.Option{"Limit": guard.Limit(2), "Shared": guard.Shared()} {
		noError(t, g.With(opt).Do(t.Context(), "k", func(ctx context.Context) error {
			if _, ok := guard.Fence(ctx); ok {
				t.Errorf("Fence under %s", name)
			}
			if _, ok := guard.FenceOf(ctx, "k"); ok {
				t.Errorf("FenceOf under %s", name)
			}
			if !guard.Holding(ctx, "k") {
				t.Errorf("not Holding under %s", name)
			}
			return nil
		}))
	}
}
