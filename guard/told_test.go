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

func TestErrorsTellWhoAndForHowLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.Wait(0))
		store.HoldFor("k", "deploy-script", time.Minute)
		err := g.Do(t.Context(), "k", nothing)
		if want := `guard: do "k": busy: somebody else holds the key (held by deploy-script for 1m0s unless renewed)`; err == nil || err.Error() != want {
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
