package guard_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/internal/redistest"
)

// crowd runs n calls of do at once and returns how many were inside together at
// the most.
func crowd(t *testing.T, n int, do func(i int, fn func(context.Context) error) error) (most int32) {
	t.Helper()
	var inside, peak atomic.Int32
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			err := do(i, func(ctx context.Context) error {
				now := inside.Add(1)
				for was := peak.Load(); now > was && !peak.CompareAndSwap(was, now); was = peak.Load() {
					continue
				}
				time.Sleep(5 * time.Millisecond)
				inside.Add(-1)
				return ctx.Err()
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return peak.Load()
}

func TestLimitLetsNInAtOnceFleetWide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t, guard.Limit(3))
		most := crowd(t, 30, func(i int, fn func(context.Context) error) error {
			return []*guard.Guard{a, b}[i%2].Do(t.Context(), "k", fn)
		})
		if most != 3 {
			t.Errorf("%d at once, want 3", most)
		}
	})
}

func TestSharedRunsProceedTogetherButNotBesideAnExclusiveOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		readers := g.With(guard.Shared())
		var writing atomic.Bool
		most := crowd(t, 20, func(_ int, fn func(context.Context) error) error {
			return readers.Do(t.Context(), "k", func(ctx context.Context) error {
				if writing.Load() {
					t.Error("a reader beside the writer")
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
				err := readers.Do(t.Context(), "k", func(context.Context) error {
					time.Sleep(time.Second)
					if writing.Load() {
						t.Error("the writer beside a reader")
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		err := g.Do(t.Context(), "k", func(context.Context) error {
			writing.Store(true)
			defer writing.Store(false)
			time.Sleep(time.Second)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		wg.Wait()
		if keys := store.Keys(); len(keys) > 0 {
			t.Errorf("%q are left", keys)
		}
	})
}

func TestLongRunsUnderALimitAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t, guard.Limit(2))
		_ = crowd(t, 2, func(i int, _ func(context.Context) error) error {
			return []*guard.Guard{a, b}[i].Do(t.Context(), "k", func(ctx context.Context) error {
				time.Sleep(30 * time.Second)
				if err := a.With(guard.Wait(0)).Do(context.WithoutCancel(t.Context()), "k", nothing); !errors.Is(err, guard.ErrBusy) {
					t.Errorf("a third got %v, want ErrBusy", err)
				}
				time.Sleep(30 * time.Second)
				return ctx.Err()
			})
		})
	})
}

func TestRunsBesideOthersHaveNoFence(t *testing.T) {
	g := newGuard(t, guardtest.NewStore())
	for name, opt := range map[string]guard.Option{"Limit": guard.Limit(2), "Shared": guard.Shared()} {
		err := g.With(opt).Do(t.Context(), "k", func(ctx context.Context) error {
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
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestNestedRunsNeedALeaseAtLeastAsStrong(t *testing.T) {
	store := guardtest.NewStore()
	g := newGuard(t, store)
	exclusive, readers := g, g.With(guard.Shared())
	two, three := g.With(guard.Limit(2)), g.With(guard.Limit(3))
	for _, c := range []struct {
		name         string
		outer, inner *guard.Guard
		ok           bool
	}{
		{"shared in exclusive", exclusive, readers, true},
		{"limit in exclusive", exclusive, two, true},
		{"shared in shared", readers, readers, true},
		{"shared in limit", two, readers, true},
		{"Limit(3) in Limit(2)", two, three, true},
		{"exclusive in shared", readers, exclusive, false},
		{"exclusive in limit", two, exclusive, false},
		{"limit in shared", readers, two, false},
		{"Limit(2) in Limit(3)", three, two, false},
	} {
		err := c.outer.Do(t.Context(), "k", func(ctx context.Context) error {
			err := c.inner.Do(ctx, "k", nothing)
			if c.ok && err != nil || !c.ok && !errors.Is(err, guard.ErrBusy) {
				t.Errorf("%s: %v", c.name, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestRedisLimitAndSharedHoldAcrossProcesses(t *testing.T) {
	s := redistest.Start(t)
	guards := []*guard.Guard{onRedis(t, s.Addr()), onRedis(t, s.Addr()), onRedis(t, s.Addr())}
	var writing, reading atomic.Int32
	most := crowd(t, 60, func(i int, fn func(context.Context) error) error {
		return guards[i%3].With(guard.Limit(4)).Do(t.Context(), "limited", fn)
	})
	if most > 4 || most < 2 {
		t.Errorf("%d at once under Limit(4)", most)
	}
	_ = crowd(t, 60, func(i int, fn func(context.Context) error) error {
		if i%10 == 0 {
			return guards[i%3].Do(t.Context(), "rw", func(ctx context.Context) error {
				if writing.Add(1) != 1 || reading.Load() != 0 {
					t.Error("a writer is not alone")
				}
				defer writing.Add(-1)
				return fn(ctx)
			})
		}
		return guards[i%3].With(guard.Shared()).Do(t.Context(), "rw", func(ctx context.Context) error {
			reading.Add(1)
			defer reading.Add(-1)
			if writing.Load() != 0 {
				t.Error("a reader beside a writer")
			}
			return fn(ctx)
		})
	})
}
