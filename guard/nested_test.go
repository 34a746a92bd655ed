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

func TestNestedDoRunsUnderTheSameLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		again := newGuard(t, store) // another Guard over the same store counts too
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			outer, _ := guard.Fence(ctx)
			return again.Do(ctx, "k", func(ctx context.Context) error {
				if inner, ok := guard.Fence(ctx); !ok || inner != outer {
					t.Errorf("inner fence %d %v, outer %d", inner, ok, outer)
				}
				return g.With(guard.Wait(0)).Do(ctx, "k", nothing)
			})
		})
		if err != nil {
			t.Error(err)
		}
		if n := store.Calls(guardtest.OpAcquire); n != 1 {
			t.Errorf("%d acquires, want 1", n)
		}
	})
}

func TestOtherStoreIsAnotherLock(t *testing.T) {
	g, other := newGuard(t, guardtest.NewStore()), newGuard(t, guardtest.NewStore())
	err := g.Do(t.Context(), "k", func(ctx context.Context) error {
		outer, _ := guard.Fence(ctx)
		return other.Do(ctx, "k", func(ctx context.Context) error {
			if inner, ok := guard.Fence(ctx); !ok || inner == outer {
				t.Errorf("inner fence %d %v is the outer one", inner, ok)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLeaseEndsAfterTheLastNestedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t)
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
		if err != nil {
			t.Fatal(err)
		}
		err = b.Do(t.Context(), "k", func(context.Context) error {
			if !nestedOver.Load() {
				t.Error("overlaps with the nested run")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestEndedLeaseMeansAcquireAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, a, b := twoProcesses(t)
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
		if err := a.With(guard.Wait(0)).Do(leaked, "k", nothing); !errors.Is(err, guard.ErrBusy) {
			t.Errorf("Do() = %v: ran beside the holder", err)
		}
		end()
		synctest.Wait()
		if err := a.Do(leaked, "k", nothing); err != nil {
			t.Error(err)
		}
		if n := store.Calls(guardtest.OpAcquire); n != 4 {
			t.Errorf("%d acquires, want 4", n)
		}
	})
}

func TestNestedRunIsCancelledWithTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			detached := context.WithoutCancel(ctx)
			return g.Do(detached, "k", func(ctx context.Context) error {
				store.Expire("k")
				<-ctx.Done()
				return context.Cause(ctx)
			})
		})
		if !errors.Is(err, guard.ErrLost) {
			t.Errorf("Do() = %v, want ErrLost", err)
		}
	})
}

func TestNestedRunAfterALossSaysThatItsFnDidNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
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
			if !errors.Is(err, guard.ErrLost) {
				t.Errorf("%s: the outer run: %v, want ErrLost", name, err)
			}
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
		err := a.Do(t.Context(), "k", func(ctx context.Context) error {
			err := b.With(guard.Wait(time.Second)).Do(ctx, "k", nothing)
			if !errors.Is(err, guard.ErrBusy) || !strings.Contains(err.Error(), "the run around this one holds it") {
				t.Errorf("Do() = %v, want that the run around it is in the way", err)
			}
			if err := b.With(guard.Wait(0)).Do(context.WithoutCancel(t.Context()), "k", nothing); strings.Contains(err.Error(), "around") {
				t.Errorf("Do() of an unrelated context = %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestNestedMaxHoldEndsOnlyTheNestedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guardtest.NewStore())
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			err := g.With(guard.MaxHold(time.Second)).Do(ctx, "k", func(ctx context.Context) error {
				<-ctx.Done()
				return nil
			})
			if !errors.Is(err, guard.ErrMaxHold) {
				t.Errorf("nested Do() = %v, want ErrMaxHold", err)
			}
			time.Sleep(time.Minute)
			return ctx.Err()
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestFenceRisesWithEveryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, a, b := twoProcesses(t)
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
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestFenceRisesOverLocalHandoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
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
			if err := <-done; err != nil {
				t.Error(err)
			}
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
	if err := guard.Ensure(t.Context(), time.Second); !errors.Is(err, guard.ErrLost) {
		t.Errorf("Ensure() = %v, want ErrLost", err)
	}
}

func TestEnsureRenewsNowIfNeedBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.TTL(30*time.Second))
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			time.Sleep(8 * time.Second)
			if err := guard.Ensure(ctx, 10*time.Second); err != nil || store.Calls(guardtest.OpRenew) != 0 {
				t.Errorf("Ensure(10s) = %v after %d renewals, want none needed", err, store.Calls(guardtest.OpRenew))
			}
			if err := guard.Ensure(ctx, 25*time.Second); err != nil || store.Calls(guardtest.OpRenew) != 1 {
				t.Errorf("Ensure(25s) = %v after %d renewals, want one", err, store.Calls(guardtest.OpRenew))
			}
			if err := guard.Ensure(ctx, time.Hour); !errors.Is(err, guard.ErrUnproven) || ctx.Err() != nil {
				t.Errorf("Ensure(1h) = %v, ctx %v: want ErrUnproven without a loss", err, ctx.Err())
			}
			store.Expire("k")
			time.Sleep(time.Millisecond)
			if err := guard.Ensure(ctx, 27*time.Second); !errors.Is(err, guard.ErrLost) || ctx.Err() == nil {
				t.Errorf("Ensure() = %v, ctx %v after the key is gone", err, ctx.Err())
			}
			return nil
		})
		if !errors.Is(err, guard.ErrLost) {
			t.Error(err)
		}
	})
}

func TestEnsureTellsWhyItCannotBeProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		down := errors.New("down")
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			time.Sleep(2 * time.Second)
			store.Fail(down)
			err := guard.Ensure(ctx, 8*time.Second)
			if !errors.Is(err, guard.ErrUnproven) || errors.Is(err, guard.ErrLost) || !errors.Is(err, down) || ctx.Err() != nil {
				t.Errorf("Ensure() = %v, ctx %v", err, ctx.Err())
			}
			store.Fail(nil)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestEnsureLooksAwayFromAnOuterRunThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guardtest.NewStore())
		var leaked context.Context
		_ = g.Do(t.Context(), "outer", func(ctx context.Context) error {
			leaked = context.WithoutCancel(ctx) //nolint:fatcontext // leaking it is the point
			return nil
		})
		if err := guard.Ensure(leaked, time.Second); !errors.Is(err, guard.ErrLost) {
			t.Errorf("Ensure() = %v under a run that has ended, want ErrLost", err)
		}
		err := g.Do(leaked, "inner", func(ctx context.Context) error {
			return guard.Ensure(ctx, time.Second)
		})
		if err != nil {
			t.Errorf("Ensure() = %v: the run that goes on holds its lease", err)
		}
	})
}

func TestNestedDoAfterALossWaitsForItsOwnLeaseForATTLAtMost(t *testing.T) {
	const poll = time.Second / 16 // the jitter of the look when a lease expires
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			outer, _ := guard.Fence(ctx)
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew, Lost: true}) // they take effect
			<-ctx.Done()
			store.Fail(nil)
			if _, held := store.Holder("k"); !held {
				t.Fatal("the lease that nobody can prove any more is gone")
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
		if !errors.Is(err, guard.ErrLost) {
			t.Errorf("outer Do() = %v, want ErrLost", err)
		}
	})
}
