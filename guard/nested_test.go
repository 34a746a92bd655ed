package guard_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestNestedRunSeesTheLeasesAroundIt(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
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
				wantError(t, guard.Ensure(ctx, 9*time.Second), guard.ErrLost)
				return nil
			})
		})
	})
}

func TestALostOuterLeaseMeansAnEndedNestedContext(t *testing.T) {
	for range 40 {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		_ = g.With(guard.TTL(50*time.Millisecond)).Do(t.Context(), "outer", func(ctx context.Context) error {
			return g.Do(ctx, "inner", func(ctx context.Context) error {
				raceForTheLoss(ctx, t, store, "outer")
				return nil
			})
		})
	}
}

func TestNestedRunIsCancelledWithTheLeaseAndReportsTheLoss(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			var end ending
			detached := context.WithoutCancel(ctx)
			wantError(t, g.Do(detached, "k", func(ctx context.Context) error {
				store.Expire("k")
				return end.await(ctx)
			}), guard.ErrLost)
			wantError(t, end.why, guard.ErrLost)
			return nil
		})
		wantError(t, err, guard.ErrLost)
	})
}

func TestNestedDoRunsUnderTheSameLease(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		again := newGuard(t, store) // another Guard over the same store counts too
		noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
			outer, _ := guard.Fence(ctx)
			return again.Do(ctx, "k", func(ctx context.Context) error {
				if inner, ok := guard.Fence(ctx); !ok || inner != outer {
					t.Errorf("inner fence %d %v, outer %d", inner, ok, outer)
				}
				return g.With(guard.Wait(0)).Do(ctx, "k", nothing)
			})
		}))
		if n := store.Calls(guardtest.OpAcquire); n != 1 {
			t.Errorf("%d acquires, want 1", n)
		}
	})
}

func TestLeaseEndsAfterTheLastNestedRun(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		var nestedOver atomic.Bool
		started := make(chan struct{})
		err := a.Do(t.Context(), "k", func(ctx context.Context) error {
			ctx = context.WithoutCancel(ctx) // outlives the outer run on purpose
			go func() {
				_ = a.Do(ctx, "k", func(ctx context.Context) error {
					close(started)
					time.Sleep(time.Minute)
					if !guard.Holding(ctx, "k") {
						t.Error("the nested run lost its lease with the outer one")
					}
					nestedOver.Store(true)
					return nil
				})
			}()
			<-started
			return nil
		})
		must(t, err)
		err = b.Do(t.Context(), "k", func(context.Context) error {
			if !nestedOver.Load() {
				t.Error("overlaps with the nested run")
			}
			return nil
		})
		noError(t, err)
	})
}

func TestEndedLeaseMeansAcquireAnew(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		var leaked context.Context
		_ = a.Do(t.Context(), "k", func(ctx context.Context) error {
			leaked = context.WithoutCancel(ctx) //nolint:fatcontext // leaking it is the point
			return nil
		})
		if guard.Holding(leaked, "k") {
			t.Error("Holding on an ended lease")
		}
		if _, ok := guard.Fence(leaked); ok {
			t.Error("Fence of an ended lease")
		}
		end, _ := hold(t, b, "k")
		wantError(t, a.With(guard.Wait(0)).Do(leaked, "k", nothing), guard.ErrBusy)
		end()
		synctest.Wait()
		noError(t, a.Do(leaked, "k", nothing))
		if n := store.Calls(guardtest.OpAcquire); n != 4 {
			t.Errorf("%d acquires, want 4", n)
		}
	})
}

func TestNestedRunAfterALossSaysThatItsFnDidNotRun(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		end, _ := hold(t, g, "busy")
		endLater, _ := hold(t, g, "later")
		calls := map[string]func(ctx context.Context) error{
			"of the same key":  func(ctx context.Context) error { return g.Do(ctx, "k", nothing) },
			"of another key":   func(ctx context.Context) error { return g.Do(ctx, "other", nothing) },
			"of a set":         func(ctx context.Context) error { return g.DoAll(ctx, []string{"x", "y"}, nothing) },
			"that is to wait":  func(ctx context.Context) error { return g.Do(ctx, "busy", nothing) },
			"that is waiting":  func(ctx context.Context) error { return g.Do(ctx, "busy", nothing) },
			"waiting in a set": func(ctx context.Context) error { return g.DoAll(ctx, []string{"later"}, nothing) },
		}
		for name, call := range calls {
			err := g.Do(t.Context(), "k", func(ctx context.Context) error {
				time.AfterFunc(time.Second, func() { store.Expire("k") })
				if !strings.Contains(name, "waiting") {
					<-ctx.Done()
				}
				inner := call(ctx)
				if !errors.Is(inner, context.Canceled) || errors.Is(inner, guard.ErrLost) || !strings.Contains(inner.Error(), "fn did not run: ") {
					t.Errorf("%s: %v, want the end of the context, and that fn did not run", name, inner)
				}
				return nil
			})
			wantError(t, err, guard.ErrLost)
		}
		end()
		endLater()
	})
}

// second is another Store value over the same data.
type second struct{ *guardtest.Store }

func TestNestedRunOverASecondStoreNamesTheRunAroundIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		a, b := newGuard(t, store), newGuard(t, &second{store})
		noError(t, a.Do(t.Context(), "k", func(ctx context.Context) error {
			err := b.With(guard.Wait(time.Second)).Do(ctx, "k", nothing)
			if !errors.Is(err, guard.ErrBusy) || !strings.Contains(err.Error(), "the run around this one holds it") {
				t.Errorf("Do() = %v, want that the run around it is in the way", err)
			}
			if err := b.With(guard.Wait(0)).Do(context.WithoutCancel(t.Context()), "k", nothing); strings.Contains(err.Error(), "around") {
				t.Errorf("Do() of an unrelated context = %v", err)
			}
			return nil
		}))
	})
}

func TestNestedMaxHoldEndsOnlyTheNestedRun(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
			wantError(t, g.With(guard.MaxHold(time.Second)).Do(ctx, "k", untilDone), guard.ErrMaxHold)
			time.Sleep(time.Minute)
			return ctx.Err()
		}))
	})
}

func TestNestedDoAfterALossWaitsForItsOwnLeaseAtMostATTL(t *testing.T) {
	const poll = time.Second / 16 // the jitter of the look when a lease expires
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			outer, _ := guard.Fence(ctx)
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew, Lost: true}) // they take effect
			<-ctx.Done()
			store.Fail(nil)
			if _, held := store.Holder("k"); !held {
				t.Fatal("the lease whose trust has ended is gone")
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
			defer cancel()
			start := time.Now()
			err := g.Do(ctx, "k", func(ctx context.Context) error { // to clean up under the key
				if d := time.Since(start); d > 10*time.Second+poll {
					t.Errorf("kept out for %v by the renewals of the run around it", d)
				}
				if token, ok := guard.Fence(ctx); !ok || token <= outer {
					t.Errorf("token %d %v after %d: not acquired anew", token, ok, outer)
				}
				return ctx.Err()
			})
			if err != nil {
				t.Errorf("nested Do() = %v", err)
			}
			return nil
		})
		wantError(t, err, guard.ErrLost)
	})
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
		noError(t, c.outer.Do(t.Context(), "k", func(ctx context.Context) error {
			err := c.inner.Do(ctx, "k", nothing)
			if c.ok && err != nil || !c.ok && !errors.Is(err, guard.ErrBusy) {
				t.Errorf("%s: %v", c.name, err)
			}
			return nil
		}))
	}
}

func TestContextEndsWithItsRun(t *testing.T) {
	var leaked context.Context
	err := newGuard(t, guardtest.NewStore()).Do(t.Context(), "k", func(ctx context.Context) error {
		leaked = ctx //nolint:fatcontext // leaking it is the point
		return nil
	})
	must(t, err)
	select {
	case <-leaked.Done():
	default:
		t.Error("alive after the run")
	}
	wantError(t, guard.Ensure(context.WithoutCancel(leaked), 0), guard.ErrLost)
}
