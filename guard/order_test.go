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

func TestDoAllOutOfOrderTriesUntilItGetsThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, a, b := twoProcesses(t)
		end, _ := hold(t, b, "m")
		time.AfterFunc(time.Minute, end)
		start := time.Now()
		err := a.Do(t.Context(), "z", func(ctx context.Context) error {
			return a.Do(ctx, "a", func(ctx context.Context) error { // z stays the last key held
				time.AfterFunc(30*time.Second, func() {
					if n := store.Waiting("m"); n != 0 {
						t.Errorf("%d in line for a key that sorts before one that is held", n)
					}
				})
				return a.DoAll(ctx, []string{"m", "n"}, nothing)
			})
		})
		if err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d < time.Minute || d > time.Minute+2*time.Second {
			t.Errorf("got through after %v, want a minute", d)
		}
	})
}

func TestDoAllOutOfOrderGivesUpInTime(t *testing.T) {
	cause := errors.New("user went away")
	for _, c := range []struct {
		name string
		opt  guard.Option
		want error
		took time.Duration
	}{
		{"Wait(0)", guard.Wait(0), guard.ErrBusy, 0},
		{"Wait(3s)", guard.Wait(3 * time.Second), guard.ErrBusy, 3 * time.Second},
		{"cancelled", guard.Forever(), cause, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a, b := twoProcesses(t)
				end, _ := hold(t, b, "a")
				err := a.Do(t.Context(), "z", func(ctx context.Context) error {
					ctx, cancel := context.WithCancelCause(ctx)
					defer cancel(nil)
					time.AfterFunc(5*time.Second, func() { cancel(cause) })
					start := time.Now()
					err := a.With(c.opt).DoAll(ctx, []string{"a", "b"}, nothing)
					// A pause that would outlast the wait is not begun.
					if d := time.Since(start); d > c.took || d < c.took-time.Second {
						t.Errorf("gave up after %v, want %v", d, c.took)
					}
					return err
				})
				if !errors.Is(err, c.want) || !errors.Is(err, guard.ErrBusy) {
					t.Errorf("DoAll() = %v, want %v", err, c.want)
				}
				end()
			})
		})
	}
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
