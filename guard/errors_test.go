package guard_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestErrorsOfFnPassThroughUnchanged(t *testing.T) {
	g := newGuard(t, guardtest.NewStore())
	want := errors.New("mine")
	if err := g.Do(t.Context(), "k", func(context.Context) error { return want }); err != want {
		t.Errorf("Do() = %v, want the very error of fn", err)
	}
}

func TestEndedContextIsReturnedWithItsCauseWithoutAskingTheStore(t *testing.T) {
	store, cause := guardtest.NewStore(), errors.New("user went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	err := newGuard(t, store).Do(ctx, "k", func(context.Context) error {
		t.Error("ran")
		return nil
	})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
		t.Errorf("Do() = %v, want context.Canceled and its cause", err)
	}
	if n := store.Calls(guardtest.OpAcquire); n != 0 {
		t.Errorf("asked the store %d times", n)
	}
}

func TestErrorsTakeOneLine(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
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
	}, guard.MaxHold(time.Second))
}

func TestErrorSaysThatAnotherRunOfThisProcessIsTheHolder(t *testing.T) {
	const here = "held by another run of this process, "
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) { // over one Store
		for name, terms := range map[string][2]guard.Option{
			"exclusive": {guard.TTL(time.Minute), guard.Wait(0)}, "waits": {guard.TTL(time.Minute), guard.Wait(time.Second)},
			"shared": {guard.Shared(), guard.Wait(0)}, "limit": {guard.Limit(1), guard.Wait(time.Second)},
		} {
			noError(t, a.With(terms[0]).Do(t.Context(), name, func(context.Context) error {
				for _, g := range []*guard.Guard{a, b} {
					err := g.With(terms[1]).Do(t.Context(), name, nothing) // not fn's ctx
					if wantError(t, err, guard.ErrBusy); !strings.Contains(err.Error(), here) {
						t.Errorf("%s: Do() = %v, want that it says %q", name, err, here)
					}
				}
				return nil
			}))
		}
		for _, holder := range []string{"deploy-script", lease.OwnerID("another process", 1, "web-1", "")} {
			store.HoldFor("k", holder, time.Minute)
			if err := a.With(guard.Wait(0)).Do(t.Context(), "k", nothing); err == nil || strings.Contains(err.Error(), here) {
				t.Errorf("held by %q: Do() = %v", holder, err)
			}
		}
	})
}

func TestErrorsNameTheHolderAndForHowLong(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
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
		err = g.With(guard.MaxHold(time.Second)).Do(t.Context(), "k", untilDone)
		if err == nil || strings.Count(err.Error(), "MaxHold") != 1 || !errors.As(err, &e) || e.Fence == 0 {
			t.Errorf("Do() = %v, want it to say MaxHold once, with the token", err)
		}
	}, guard.Wait(0))
}
