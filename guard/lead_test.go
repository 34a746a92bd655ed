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

func TestLeadBacksOffFromAStoreThatRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Fail(lease.ErrRefused) // at once, each time
		time.AfterFunc(time.Hour, func() { store.Fail(nil) })
		start := time.Now()
		terms := 0
		err := g.Lead(t.Context(), "k", func(ctx context.Context) error {
			if terms++; terms == 2 {
				return nil
			}
			store.Fail(lease.ErrRefused)
			<-ctx.Done()
			store.Expire("k")
			time.AfterFunc(5*time.Millisecond, func() { store.Fail(nil) })
			start = time.Now()
			return nil
		})
		if err != nil || terms != 2 {
			t.Errorf("Lead() = %v after %d terms", err, terms)
		}
		if n := store.Calls(guardtest.OpAcquire); n > 3*3600 {
			t.Errorf("%d attempts in an hour: no back-off", n)
		}
		if d := time.Since(start); d > 50*time.Millisecond {
			t.Errorf("led %v after 5ms of trouble: the back-off goes on where it was an hour ago", d)
		}
	})
}

func TestLeadBacksOffForATTLAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		store.Fail(lease.ErrRefused)
		time.AfterFunc(time.Minute, func() { store.Fail(nil) })
		start := time.Now()
		noError(t, newGuard(t, store, guard.TTL(50*time.Millisecond)).Lead(t.Context(), "k", nothing))
		if d := time.Since(start) - time.Minute; d > 50*time.Millisecond {
			t.Errorf("led %v after the store was back, TTL 50ms", d)
		}
	})
}

func TestLeadWaitsWhateverWaitSays(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		end, _ := hold(t, a, "k")
		led := make(chan error)
		go func() { led <- b.With(guard.Wait(0)).Lead(context.Background(), "k", nothing) }()
		synctest.Wait()
		if n := store.Waiting("k"); n != 1 {
			t.Errorf("%d in the queue", n)
		}
		end()
		noError(t, <-led)
	})
}

func TestLeadReturnsTheLeadersResult(t *testing.T) {
	g := newGuard(t, guardtest.NewStore())
	want := errors.New("mine")
	wantError(t, g.Lead(t.Context(), "k", func(context.Context) error { return want }), want)
	if err := g.Lead(t.Context(), "k", nothing); err != nil {
		t.Errorf("Lead() = %v", err)
	}
}

func TestLeadCampaignsAgainAfterALoss(t *testing.T) {
	for name, c := range map[string]struct {
		opts []guard.Option
		end  func(*guardtest.Store)
		err  error // of fn
	}{
		"lost":          {nil, func(s *guardtest.Store) { s.Expire("k") }, context.Canceled},
		"too long":      {[]guard.Option{guard.MaxHold(time.Minute)}, func(*guardtest.Store) {}, context.Canceled},
		"ErrInvalidKey": {nil, func(s *guardtest.Store) { s.Expire("k") }, guard.ErrInvalidKey}, // of some call that fn made
		"ErrClosed":     {nil, func(s *guardtest.Store) { s.Expire("k") }, guard.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				terms := 0
				err := g.Lead(t.Context(), "k", func(ctx context.Context) error {
					if terms++; terms == 3 {
						return nil
					}
					c.end(store)
					<-ctx.Done()
					return c.err
				})
				if err != nil || terms != 3 {
					t.Errorf("Lead() = %v after %d terms", err, terms)
				}
			}, c.opts...)
		})
	}
}

func TestLeadOutlastsADownStore(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
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

func TestLeadEndsWithItsContextShutdownAndBadKeys(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		end, _ := hold(t, a, "k")
		cause := errors.New("going home")
		for _, storeErr := range []error{nil, lease.ErrRefused} { // it waits, it backs off
			store.Fail(storeErr)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(5*time.Second, func() { cancel(cause) })
			start := time.Now()
			wantError(t, b.Lead(ctx, "k", nothing), cause)
			if d := time.Since(start); d != 5*time.Second {
				t.Errorf("returned after %v", d)
			}
		}
		store.Fail(nil)
		time.AfterFunc(time.Minute, func() { _ = b.Shutdown(t.Context()) })
		wantError(t, b.Lead(t.Context(), "k", nothing), guard.ErrClosed)
		wantError(t, a.Lead(t.Context(), "", nothing), guard.ErrInvalidKey)
		end()
	})
}
