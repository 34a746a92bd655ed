package guard_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestBuriedShorterAcquireDoesNotShortenTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBurying(1, 50*time.Millisecond, 0)
		g := newGuard(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = g.With(guard.TTL(400*time.Millisecond)).Do(ctx, "k", nothing) }()
		synctest.Wait()
		err := make(chan error)
		go func() {
			err <- g.Do(t.Context(), "k", func(ctx context.Context) error {
				// It was sent under the owner id that now holds the key.
				if err := <-s.arrived; err != nil {
					t.Errorf("the buried request came for nothing: %v", err)
				}
				if left := s.Remaining("k"); left < 9*time.Second {
					t.Errorf("a request with a TTL of 400ms cut a lease of 10s to %v", left)
				}
				time.Sleep(time.Second)
				wantError(t, newGuard(t, s, guard.Wait(0)).Do(t.Context(), "k", nothing), guard.ErrBusy)
				return ctx.Err()
			})
		}()
		synctest.Wait()
		cancel() // its sender leaves; its place goes to the second
		noError(t, <-err)
		time.Sleep(time.Minute)
	})
}

// untilDone is an fn that works until its context ends, and tells when and why.
func untilDone(when *time.Time, why *error) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		*when, *why = time.Now(), context.Cause(ctx)
		return nil
	}
}

func TestRenewalKeepsALongRunAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			time.Sleep(time.Hour)
			return ctx.Err()
		})
		noError(t, err)
		// TTL/3, less a tenth of jitter at most: 1080 to 1200 in an hour.
		if n := store.Calls(guardtest.OpRenew); n < 1080 || n > 1201 {
			t.Errorf("%d renewals in an hour", n)
		}
	})
}

func TestContextEndsMarginBeforeTheLeaseCanExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, margin := range []time.Duration{100 * time.Millisecond, time.Second, 4 * time.Second} {
			store := guardtest.NewStore()
			g := newGuard(t, store, guard.Margin(margin))
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew}) // no renewal is answered
			start := time.Now()
			var when time.Time
			var why error
			err := g.Do(t.Context(), "k", untilDone(&when, &why))
			if d := when.Sub(start); d != 10*time.Second-margin {
				t.Errorf("Margin %v: ctx ended after %v", margin, d)
			}
			if !errors.Is(why, guard.ErrLost) || !errors.Is(err, guard.ErrLost) {
				t.Errorf("cause %v, result %v, want ErrLost", why, err)
			}
			store.Fail(nil)
		}
	})
}

func TestTrustIsExtendedFromTheSendOfTheRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		var when time.Time
		var why error
		var sent time.Time
		go func() {
			// The first renewal goes out before 1 s. Its reply takes 400 ms, and it
			// is the last one that is answered.
			store.Delay(400 * time.Millisecond)
			for store.Calls(guardtest.OpRenew) == 0 {
				time.Sleep(time.Millisecond)
			}
			sent = time.Now()
			time.Sleep(401 * time.Millisecond)
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew})
		}()
		_ = g.Do(t.Context(), "k", untilDone(&when, &why))
		if d := when.Sub(sent); d > 2700*time.Millisecond || d < 2690*time.Millisecond {
			t.Errorf("trusted until %v after the renewal was sent, want 2.7s", d)
		}
	}, guard.TTL(3*time.Second), guard.Margin(300*time.Millisecond))
}

func TestSlowReplyDoesNotExtendTrust(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Delay(1500 * time.Millisecond)
		// The first attempt is given up after 100 ms, the second is answered.
		asked := time.Now().Add(100 * time.Millisecond)
		var when time.Time
		var why error
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Delay(0)
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew})
			return untilDone(&when, &why)(ctx)
		})
		if d := when.Sub(asked); d != 3600*time.Millisecond {
			t.Errorf("trusted for %v from the request, want 3.6s", d)
		}
		wantError(t, err, guard.ErrLost)
	}, guard.TTL(4*time.Second), guard.Margin(400*time.Millisecond))
}

func TestTwoFailedRenewalsLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, f := range map[string]guardtest.Fault{
			"error reply":          {Op: guardtest.OpRenew, Err: errors.New("LOADING"), Times: 2},
			"no reply":             {Op: guardtest.OpRenew, Times: 2},
			"done, but reply lost": {Op: guardtest.OpRenew, Lost: true, Times: 2},
		} {
			store := guardtest.NewStore()
			g := newGuard(t, store)
			store.Inject(f)
			err := g.Do(t.Context(), "k", func(ctx context.Context) error {
				time.Sleep(time.Minute)
				return ctx.Err()
			})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestALostLeaseMeansAnEndedContext(t *testing.T) {
	// In real time: the goroutines must really race for the first look.
	for range 20 {
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.TTL(50*time.Millisecond))
		_ = g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Fail(errors.New("down")) // no renewals any more
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for guard.Holding(ctx, "k") {
						continue
					}
					if ctx.Err() == nil {
						t.Error("the lease is lost and ctx.Err() is nil")
					}
				})
			}
			wg.Wait()
			store.Fail(nil)
			return nil
		})
	}
}
