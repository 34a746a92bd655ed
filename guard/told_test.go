package guard_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestEndedContextIsToldWithItsCause(t *testing.T) {
	cause := errors.New("user went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	err := newGuard(t, guardtest.NewStore()).Do(ctx, "k", nothing)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
		t.Errorf("Do() = %v, want context.Canceled and its cause", err)
	}
}

func TestContextEndsWithItsRun(t *testing.T) {
	var leaked context.Context
	err := newGuard(t, guardtest.NewStore()).Do(t.Context(), "k", func(ctx context.Context) error {
		leaked = ctx //nolint:fatcontext // leaking it is the point
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-leaked.Done():
	default:
		t.Error("alive after the run")
	}
	if err := guard.Ensure(context.WithoutCancel(leaked), 0); !errors.Is(err, guard.ErrLost) {
		t.Errorf("Ensure() = %v after the run, want ErrLost", err)
	}
}

// A deadline gives the store time, as Wait does. Who went away gave it none.
func TestStoreThatDoesNotAnswerByTheDeadlineIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		store.Inject(guardtest.Fault{Op: guardtest.OpAcquire})
		g := newGuard(t, store)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := g.Do(ctx, "k", nothing); !errors.Is(err, guard.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do() = %v at its deadline, want ErrUnavailable and the context's error", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		if err := g.Do(ctx, "k", nothing); errors.Is(err, guard.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("Do() = %v when cancelled, want the context's error", err)
		}
		store.Fail(nil)
	})
}

// The attempts have deadlines of their own.
func TestDeadlineOfAnAttemptIsNotTakenForTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		store.Inject(guardtest.Fault{Op: guardtest.OpAcquire})
		err := newGuard(t, store, guard.Wait(3*time.Second)).Do(t.Context(), "k", nothing)
		if !errors.Is(err, guard.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do() = %v, want ErrUnavailable and no deadline", err)
		}
		store.Fail(nil)
		g := newGuard(t, store)
		err = g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew})
			<-ctx.Done()
			return nil
		})
		if !errors.Is(err, guard.ErrLost) || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "deadline") {
			t.Errorf("Do() = %v, want ErrLost, with the last renewal's error in words", err)
		}
		store.Fail(nil)
	})
}

func TestErrorsTakeOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.MaxHold(time.Second))
		errFn := errors.New("mine")
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			<-ctx.Done()
			return errors.Join(errFn, errFn)
		})
		if !errors.Is(err, errFn) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Error() = %q, want one line", err)
		}
		err = g.Do(t.Context(), "k", func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
		if want := `guard: do "k": held longer than MaxHold`; err == nil || err.Error() != want {
			t.Errorf("Error() = %q\nwant %q", err, want)
		}
		err = g.Do(t.Context(), strings.Repeat("k", 600), nothing)
		if !errors.Is(err, guard.ErrInvalidKey) || len(err.Error()) > 250 {
			t.Errorf("Error() = %q, want ErrInvalidKey in less than 250 bytes", err)
		}
	})
}

func TestKeyThatMinHoldKeepsShutSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guardtest.NewStore(), guard.MinHold(3*time.Second), guard.Wait(0))
		if err := g.Do(t.Context(), "k", nothing); err != nil {
			t.Fatal(err)
		}
		err := g.Do(t.Context(), "k", nothing)
		if !errors.Is(err, guard.ErrBusy) || !strings.HasSuffix(err.Error(), "its run is over, and its MinHold is not") {
			t.Errorf("Do() = %v, want ErrBusy because of MinHold", err)
		}
	})
}

func TestErrorsTellWhoAndForHowLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.Wait(0))
		store.HoldFor("k", "deploy-script", time.Minute)
		err := g.Do(t.Context(), "k", nothing)
		if want := `guard: do "k": busy: the key is held (held by deploy-script for 1m0s unless renewed)`; err == nil || err.Error() != want {
			t.Errorf("Error() = %q\nwant %q", err, want)
		}
		store.Expire("k")
		var token int64
		err = g.Do(t.Context(), "k", func(ctx context.Context) error {
			token, _ = guard.Fence(ctx)
			store.Hold("k", "thief")
			return lost(ctx)
		})
		var e *guard.Error
		if !errors.As(err, &e) || e.Holder != "thief" || e.Fence != token || e.Fence == 0 {
			t.Errorf("Do() = %+v, want the thief and token %d", e, token)
		}
		store.Expire("k")
		err = g.With(guard.MaxHold(time.Second)).Do(t.Context(), "k", func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		})
		if err == nil || strings.Count(err.Error(), "MaxHold") != 1 || !errors.As(err, &e) || e.Fence == 0 {
			t.Errorf("Do() = %v, want it to say MaxHold once, with the token", err)
		}
	})
}

// valueStore is a Store of a type that cannot be compared.
type valueStore struct {
	*guardtest.Store
	_ []int
}

func TestStoreThatCannotBeComparedPanics(t *testing.T) {
	p, _ := recovered(func() { _, _ = guard.New(valueStore{Store: guardtest.NewStore()}) }).(string)
	if !strings.HasPrefix(p, "guard: ") {
		t.Errorf("panic %q", p)
	}
}

func TestTryingOnceAgainAndAgainIsBusyAndNeverUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t)
		end, _ := hold(t, a, "k")
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 500 { // each comes while the one before is leaving
					if err := b.With(guard.Wait(0)).Do(t.Context(), "k", nothing); !errors.Is(err, guard.ErrBusy) {
						t.Errorf("Do() = %v, want ErrBusy", err)
						return
					}
				}
			})
		}
		wg.Wait()
		end()
	})
}
