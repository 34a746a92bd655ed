package guard_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestLossOfOneKeyIsToldEvenIfMaxHoldEndsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, gone := range []string{"a", "b"} {
			store := guardtest.NewStore()
			g := newGuard(t, store, guard.MaxHold(time.Minute))
			err := g.DoAll(t.Context(), []string{"a", "b"}, func(context.Context) error {
				store.Expire(gone)
				time.Sleep(2 * time.Minute) // does not look at its context
				return nil
			})
			if !errors.Is(err, guard.ErrLost) {
				t.Errorf("DoAll() = %v, want ErrLost of %s", err, gone)
			}
		}
	})
}

func TestDoAllDoesNotStartOverForAStoreThatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		store.Fail(lease.ErrRefused)
		start := time.Now()
		err := newGuard(t, store).DoAll(t.Context(), []string{"a", "b"}, nothing)
		if d := time.Since(start); !errors.Is(err, guard.ErrUnavailable) || d > 0 {
			t.Errorf("DoAll() = %v after %v, want ErrUnavailable at once", err, d)
		}
	})
}

func TestDoAllWaitsInLineBesideLeasesThatDoNotCount(t *testing.T) {
	for name, run := range map[string]func(g *guard.Guard, fn func(context.Context) error) error{
		"of another store": func(_ *guard.Guard, fn func(context.Context) error) error {
			other, err := guard.New(guardtest.NewStore())
			if err != nil {
				return err
			}
			return other.Do(context.Background(), "z", fn)
		},
		"that has ended": func(g *guard.Guard, fn func(context.Context) error) error {
			var leaked context.Context
			_ = g.Do(context.Background(), "z", func(ctx context.Context) error {
				leaked = context.WithoutCancel(ctx) //nolint:fatcontext // leaking it is the point
				return nil
			})
			return fn(leaked)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, a, b := twoProcesses(t)
				end, _ := hold(t, b, "a")
				time.AfterFunc(time.Minute, func() {
					if n := store.Waiting("a"); n != 1 {
						t.Errorf("%d in line", n)
					}
					end()
				})
				err := run(a, func(ctx context.Context) error { return a.DoAll(ctx, []string{"a", "b"}, nothing) })
				if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestWaitBoundsTheWholeOfDoAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t)
		endA, _ := hold(t, b, "a")
		endB, _ := hold(t, b, "b")
		time.AfterFunc(2*time.Second, endA)
		start := time.Now()
		err := a.With(guard.Wait(3*time.Second)).DoAll(t.Context(), []string{"a", "b"}, nothing)
		if d := time.Since(start); !errors.Is(err, guard.ErrBusy) || d != 3*time.Second {
			t.Errorf("DoAll() = %v after %v, want ErrBusy after 3s", err, d)
		}
		endB()
	})
}
