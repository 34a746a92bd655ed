package guard_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// A round trip of more than a second is longer than the first attempts. If it was so
// from the start, no renewal fails for it.
func TestAttemptsSuitASlowLink(t *testing.T) {
	for _, trip := range []time.Duration{700 * time.Millisecond, 1500 * time.Millisecond, 2200 * time.Millisecond} {
		for _, sudden := range []bool{true, false} {
			if sudden && trip > 2*time.Second {
				continue // half of the trust that is left after a second
			}
			t.Run(fmt.Sprint(trip, ", suddenly ", sudden), func(t *testing.T) {
				seen := &recorder{}
				inBubble(t, func(t *testing.T, s *guardtest.Store, g *guard.Guard) {
					if !sudden {
						s.Delay(trip)
					}
					noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
						s.Delay(trip)
						select {
						case <-time.After(time.Minute):
							return nil
						case <-ctx.Done():
							return context.Cause(ctx)
						}
					}))
					if !sudden && (seen.saw(guard.EventRenewFailed) || seen.saw(guard.EventReleaseFailed)) {
						t.Error("a renewal or a release failed")
					}
					s.Delay(0)
					time.Sleep(time.Minute) // what was not answered is cleaned up
					if owner, held := s.Holder("k"); held {
						t.Errorf("%q holds the key", owner)
					}
				}, guard.TTL(10*time.Second), guard.Observe(seen))
			})
		}
	}
}

// Nothing reaches the store from the beginning of fn on.
func TestMinHoldOutlastsAHolderThatDies(t *testing.T) {
	for name, mode := range map[string]guard.Option{"exclusive": guard.Forever(), "limit": guard.Limit(1), "shared": guard.Shared()} {
		for _, life := range []time.Duration{0, 3 * time.Second} { // renewed, or not
			t.Run(name+" dies after "+life.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const minHold = 8 * time.Second
					s := guardtest.NewStore()
					a, b := newGuard(t, s, mode, guard.TTL(time.Second)), newGuard(t, s, guard.TTL(time.Second))
					began := time.Now()
					_ = a.With(guard.MinHold(minHold)).Do(t.Context(), "k", func(context.Context) error {
						time.Sleep(life)
						s.Inject(guardtest.Fault{Op: guardtest.OpRenew})
						s.Inject(guardtest.Fault{Op: guardtest.OpRelease})
						time.Sleep(2 * time.Second)
						return nil
					})
					noError(t, b.Do(t.Context(), "k", func(context.Context) error {
						s.Fail(nil)
						if d := time.Since(began); d < minHold || d > minHold+time.Second {
							t.Errorf("the next began after %v", d)
						}
						return nil
					}))
					time.Sleep(time.Minute)
				})
			})
		}
	}
}

// A process that is granted the key from the queue, too, holds it for MinHold if it
// dies at once.
func TestMinHoldOutlastsAWaiterThatDies(t *testing.T) {
	inBubble2(t, func(t *testing.T, s *guardtest.Store, a, b *guard.Guard) {
		const minHold = 8 * time.Second
		var began time.Time
		over := make(chan struct{})
		noError(t, a.Do(t.Context(), "k", func(context.Context) error {
			go func() {
				defer close(over)
				_ = b.With(guard.MinHold(minHold)).Do(t.Context(), "k", func(context.Context) error {
					began = time.Now()
					s.Inject(guardtest.Fault{Op: guardtest.OpRenew})
					s.Inject(guardtest.Fault{Op: guardtest.OpRelease})
					return nil
				})
			}()
			time.Sleep(100 * time.Millisecond)
			return nil
		}))
		<-over
		noError(t, a.Do(t.Context(), "k", func(context.Context) error {
			s.Fail(nil)
			if d := time.Since(began); d < minHold || d > minHold+time.Second {
				t.Errorf("the next began after %v", d)
			}
			return nil
		}))
		time.Sleep(time.Minute)
	}, guard.TTL(time.Second))
}
