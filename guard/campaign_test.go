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
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
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
		if err := newGuard(t, store, guard.TTL(50*time.Millisecond)).Lead(t.Context(), "k", nothing); err != nil {
			t.Error(err)
		}
		if d := time.Since(start) - time.Minute; d > 50*time.Millisecond {
			t.Errorf("led %v after the store was back, TTL 50ms", d)
		}
	})
}

func TestLeadEndsWithItsContextWhileItBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		store.Fail(lease.ErrRefused)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err := newGuard(t, store).Lead(ctx, "k", nothing)
		if d := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || d != time.Minute {
			t.Errorf("Lead() = %v after %v", err, d)
		}
	})
}

func TestLeadStandsInLineWhateverWaitSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, a, b := twoProcesses(t)
		end, _ := hold(t, a, "k")
		led := make(chan error)
		go func() { led <- b.With(guard.Wait(0)).Lead(context.Background(), "k", nothing) }()
		synctest.Wait()
		if n := store.Waiting("k"); n != 1 {
			t.Errorf("%d in line", n)
		}
		end()
		if err := <-led; err != nil {
			t.Error(err)
		}
	})
}

func TestErrorsOfALostTermDoNotEndTheCampaign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fnErr := range []error{guard.ErrInvalidKey, guard.ErrClosed} { // of some call that fn made
			store := guardtest.NewStore()
			terms := 0
			err := newGuard(t, store).Lead(t.Context(), "k", func(ctx context.Context) error {
				if terms++; terms == 2 {
					return nil
				}
				store.Expire("k")
				<-ctx.Done()
				return fnErr
			})
			if err != nil || terms != 2 {
				t.Errorf("Lead() = %v after %d terms", err, terms)
			}
		}
	})
}
