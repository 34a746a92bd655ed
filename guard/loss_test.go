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

func TestOnlyNotTheOwnerIsFinal(t *testing.T) {
	for name, steal := range map[string]func(*guardtest.Store){
		"deleted": func(s *guardtest.Store) { s.Expire("k") },
		"stolen":  func(s *guardtest.Store) { s.Hold("k", "thief") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				var end ending
				start := time.Now()
				time.AfterFunc(time.Second, func() { steal(store) })
				wantError(t, g.Do(t.Context(), "k", end.await), guard.ErrLost)
				wantError(t, end.why, guard.ErrLost)
				if d := end.at.Sub(start); d > 10*time.Second/3 {
					t.Errorf("noticed after %v, want by the next renewal", d)
				}
				if owner, ok := store.Holder("k"); name == "stolen" && (!ok || owner != "thief") {
					t.Errorf("the thief's lease was touched: %q %v", owner, ok)
				}
			})
		})
	}
}

func TestLossIsReportedEvenIfFnReturnsNil(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		mine := errors.New("mine")
		for _, fnErr := range []error{nil, mine} {
			err := g.Do(t.Context(), "k", func(context.Context) error {
				store.Expire("k")
				time.Sleep(5 * time.Second) // does not look at its context
				return fnErr
			})
			if !errors.Is(err, guard.ErrLost) || fnErr != nil && !errors.Is(err, fnErr) {
				t.Errorf("Do() = %v, want ErrLost joined with %v", err, fnErr)
			}
		}
	})
}

func TestRenewalGoesOnAfterALossWhileTheKeyIsStillOurs(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		// No reply to renewals until trust is over, though they take effect.
		store.Inject(guardtest.Fault{Op: guardtest.OpRenew, Lost: true})
		done := make(chan error)
		stubborn := true
		go func() {
			done <- a.Do(context.Background(), "k", func(ctx context.Context) error {
				<-ctx.Done()
				store.Fail(nil)
				time.Sleep(time.Minute) // ignores the loss
				stubborn = false
				return nil
			})
		}()
		synctest.Wait()
		noError(t, b.Do(t.Context(), "k", func(context.Context) error {
			if stubborn {
				t.Error("started while the run goes on that ignores its context")
			}
			return nil
		}))
		wantError(t, <-done, guard.ErrLost)
	})
}

func TestRenewalNeverRecreatesALostKey(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		_ = g.Do(t.Context(), "k", func(context.Context) error {
			store.Expire("k")
			for range 60 {
				time.Sleep(time.Second)
				if owner, ok := store.Holder("k"); ok {
					t.Fatalf("%q came back", owner)
				}
			}
			return nil
		})
	})
}

func TestLocalSlotIsFreeAtTheLossEvenIfFnRunsOn(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		go func() {
			_ = g.Do(context.Background(), "k", func(context.Context) error {
				store.Expire("k")
				time.Sleep(time.Hour)
				return nil
			})
		}()
		synctest.Wait()
		start := time.Now()
		noError(t, g.Do(t.Context(), "k", nothing))
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("waited %v for a run that has lost its lease", d)
		}
		time.Sleep(2 * time.Hour)
	})
}
