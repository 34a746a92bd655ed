package guard_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestWaitZeroOnASilentStoreIsNotBusy(t *testing.T) {
	for _, c := range []struct {
		timeout time.Duration
		want    error
	}{
		{50 * time.Millisecond, context.DeadlineExceeded}, // in the first attempt
		{300 * time.Millisecond, context.DeadlineExceeded},
		{time.Minute, guard.ErrUnavailable},
	} {
		t.Run(c.timeout.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				store.Inject(guardtest.Fault{})
				ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
				defer cancel()
				err := newGuard(t, store, guard.Wait(0)).Do(ctx, "k", nothing)
				if errors.Is(err, guard.ErrBusy) || !errors.Is(err, c.want) {
					t.Errorf("Do() = %v, want %v: nobody holds the key", err, c.want)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestWaitZeroBehindAnUnansweredAttemptLearnsItsOutcome(t *testing.T) {
	for _, c := range []struct {
		name   string
		state  func(*guardtest.Store)
		want   [3]error // nil: it ran
		holder string   // whom the refused are told
	}{
		{
			name:  "silent",
			state: func(s *guardtest.Store) { s.Inject(guardtest.Fault{}) },
			want:  [3]error{guard.ErrUnavailable, guard.ErrUnavailable, guard.ErrUnavailable},
		},
		{
			name:   "held",
			state:  func(s *guardtest.Store) { s.Hold("k", "ops"); s.Delay(50 * time.Millisecond) },
			want:   [3]error{guard.ErrBusy, guard.ErrBusy, guard.ErrBusy},
			holder: "ops",
		},
		{
			name:   "free",
			state:  func(s *guardtest.Store) { s.Delay(50 * time.Millisecond) },
			want:   [3]error{nil, guard.ErrBusy, guard.ErrBusy},
			holder: "guardtest",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				c.state(store)
				g := newGuard(t, store, guard.Wait(0))
				var errs [3]error
				var wg sync.WaitGroup
				for i := range errs {
					wg.Go(func() { errs[i] = g.Do(t.Context(), "k", nothing) })
					time.Sleep(time.Millisecond)
				}
				wg.Wait()
				for i, err := range errs {
					if !errors.Is(err, c.want[i]) || c.want[i] != guard.ErrBusy && errors.Is(err, guard.ErrBusy) {
						t.Errorf("call %d: Do() = %v, want %v", i, err, c.want[i])
					}
					var e *guard.Error
					if errors.As(err, &e) && e.Holder != c.holder {
						t.Errorf("call %d: held by %q, want %q", i, e.Holder, c.holder)
					}
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestReleaseThatWasRefusedAndThenFindsAThiefIsALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		err := g.Do(t.Context(), "k", func(context.Context) error {
			store.Hold("k", "thief")
			refused := fmt.Errorf("NOPERM: %w", lease.ErrRefused)
			store.Inject(guardtest.Fault{Op: guardtest.OpRelease, Err: refused, Times: 1})
			return nil
		})
		if !errors.Is(err, guard.ErrLost) {
			t.Errorf("Do() = %v, want ErrLost: a refusal had no effect, so the thief had it before", err)
		}
		if n := store.Calls(guardtest.OpRelease); n != 2 {
			t.Errorf("%d releases, want the refused one and another", n)
		}
		if owner, _ := store.Holder("k"); owner != "thief" {
			t.Errorf("held by %q, want the thief", owner)
		}
	})
}

func TestShutdownWithOnlyWaitersAndAnEndedContextSucceeds(t *testing.T) {
	for range 20 { // the waiters' leaving and the look at the context race
		synctest.Test(t, func(t *testing.T) {
			store := guardtest.NewStore()
			store.Hold("k", "ops")
			g := newGuard(t, store)
			waiters := make(chan error, 3)
			for range cap(waiters) {
				go func() { waiters <- g.Do(context.Background(), "k", nothing) }()
			}
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := g.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown() = %v: no run had to be cancelled", err)
			}
			for range cap(waiters) {
				if err := <-waiters; !errors.Is(err, guard.ErrClosed) {
					t.Errorf("a waiter got %v, want ErrClosed", err)
				}
			}
			if n := guard.Left(g); n != 0 || store.Waiting("k") != 0 {
				t.Errorf("%d entries and %d in line are left", n, store.Waiting("k"))
			}
		})
	}
}
