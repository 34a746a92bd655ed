package guard_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestLeadReturnsTheLeadersResult(t *testing.T) {
	g := newGuard(t, guardtest.NewStore())
	want := errors.New("mine")
	if err := g.Lead(t.Context(), "k", func(context.Context) error { return want }); !errors.Is(err, want) {
		t.Errorf("Lead() = %v", err)
	}
	if err := g.Lead(t.Context(), "k", nothing); err != nil {
		t.Errorf("Lead() = %v", err)
	}
}

func TestLeadCampaignsAgainAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.Wait(0)) // not heeded
		terms := 0
		err := g.Lead(t.Context(), "k", func(ctx context.Context) error {
			terms++
			if terms == 3 {
				return nil
			}
			store.Expire("k")
			<-ctx.Done()
			return ctx.Err()
		})
		if err != nil || terms != 3 {
			t.Errorf("Lead() = %v after %d terms", err, terms)
		}
	})
}

func TestLeadOutlastsADownStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		store.Fail(errors.New("connection refused"))
		time.AfterFunc(time.Hour, func() { store.Fail(nil) })
		start := time.Now()
		if err := g.Lead(t.Context(), "k", nothing); err != nil {
			t.Errorf("Lead() = %v", err)
		}
		if d := time.Since(start); d > time.Hour+2*time.Second {
			t.Errorf("led only %v after the store was back", d-time.Hour)
		}
		if n := store.Calls(guardtest.OpAcquire); n > 3*3600 {
			t.Errorf("%d attempts in an hour: no back-off", n)
		}
	})
}

func TestLeadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t)
		end, _ := hold(t, a, "k")
		cause := errors.New("going home")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(cause) })
		if err := b.Lead(ctx, "k", nothing); !errors.Is(err, cause) {
			t.Errorf("Lead() = %v, want the cause", err)
		}
		end()
	})
}

func TestLeadEndsWithShutdownAndBadKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t)
		end, _ := hold(t, a, "k")
		time.AfterFunc(time.Minute, func() { _ = b.Shutdown(t.Context()) })
		if err := b.Lead(t.Context(), "k", nothing); !errors.Is(err, guard.ErrClosed) {
			t.Errorf("Lead() = %v, want ErrClosed", err)
		}
		if err := a.Lead(t.Context(), "", nothing); !errors.Is(err, guard.ErrInvalidKey) {
			t.Errorf("Lead() = %v, want ErrInvalidKey", err)
		}
		end()
	})
}

func TestMaxHoldEndsATermOfOffice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guardtest.NewStore(), guard.MaxHold(time.Minute))
		terms := 0
		err := g.Lead(t.Context(), "k", func(ctx context.Context) error {
			if terms++; terms == 2 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if err != nil || terms != 2 {
			t.Errorf("Lead() = %v after %d terms", err, terms)
		}
	})
}
