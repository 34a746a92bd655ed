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

func TestRenewalKeepsALongRunAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
			time.Sleep(time.Hour)
			return ctx.Err()
		}))
		// TTL/3, less a tenth of jitter at most: 1080 to 1200 in an hour.
		if n := store.Calls(guardtest.OpRenew); n < 1080 || n > 1201 {
			t.Errorf("%d renewals in an hour", n)
		}
	})
}

func TestContextEndsMarginBeforeTheLeaseCanExpire(t *testing.T) {
	down := errors.New("connection refused")
	for margin, renewals := range map[time.Duration]guardtest.Fault{
		100 * time.Millisecond: {Op: guardtest.OpRenew}, // no answer
		time.Second:            {Op: guardtest.OpRenew, Err: down},
		4 * time.Second:        {Op: guardtest.OpRenew},
	} {
		t.Run(margin.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				store.Inject(renewals)
				start := time.Now()
				var end ending
				err := g.Do(t.Context(), "k", end.await)
				if d := end.at.Sub(start); d != 10*time.Second-margin {
					t.Errorf("ctx ended after %v", d)
				}
				for _, err := range []error{err, end.why} {
					wantError(t, err, guard.ErrLost)
					if errors.Is(err, down) != (renewals.Err != nil) {
						t.Errorf("%v, want it to say why renewals failed: %v", err, renewals.Err)
					}
				}
				store.Fail(nil)
			}, guard.Margin(margin))
		})
	}
}

func TestTrustIsExtendedFromTheSendOfTheRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		var end ending
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
		_ = g.Do(t.Context(), "k", end.await)
		if d := end.at.Sub(sent); d > 2700*time.Millisecond || d < 2690*time.Millisecond {
			t.Errorf("trusted until %v after the renewal was sent, want 2.7s", d)
		}
	}, guard.TTL(3*time.Second), guard.Margin(300*time.Millisecond))
}

func TestSlowReplyDoesNotExtendTrust(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Delay(1500 * time.Millisecond)
		// The first attempt is given up after 100 ms, the second is answered.
		asked := time.Now().Add(100 * time.Millisecond)
		var end ending
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Delay(0)
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew})
			return end.await(ctx)
		})
		if d := end.at.Sub(asked); d != 3600*time.Millisecond {
			t.Errorf("trusted for %v from the request, want 3.6s", d)
		}
		wantError(t, err, guard.ErrLost)
	}, guard.TTL(4*time.Second), guard.Margin(400*time.Millisecond))
}

func TestSlowReplyDoesNotPutOffTheFirstRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Delay(1500 * time.Millisecond) // more than the third of the TTL after which it is due
		must(t, g.Do(t.Context(), "k", func(context.Context) error {
			store.Delay(0)
			time.Sleep(time.Millisecond)
			if n := store.Calls(guardtest.OpRenew); n != 1 {
				t.Errorf("%d renewals at once, want 1", n)
			}
			return nil
		}))
	}, guard.TTL(4*time.Second), guard.Margin(400*time.Millisecond))
}

func TestTwoFailedRenewalsLoseNothing(t *testing.T) {
	for name, f := range map[string]guardtest.Fault{
		"error reply":          {Op: guardtest.OpRenew, Err: errors.New("LOADING"), Times: 2},
		"no reply":             {Op: guardtest.OpRenew, Times: 2},
		"done, but reply lost": {Op: guardtest.OpRenew, Lost: true, Times: 2},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				store.Inject(f)
				noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
					time.Sleep(time.Minute)
					return ctx.Err()
				}))
			})
		})
	}
}

// raceForTheLoss has ctx lose key, and several goroutines race, in real time, for the
// first look at either.
func raceForTheLoss(ctx context.Context, t *testing.T, store *guardtest.Store, key string) {
	store.Fail(errors.New("down")) // no renewals any more
	defer store.Fail(nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for guard.Holding(ctx, key) {
				continue
			}
			if ctx.Err() == nil {
				t.Errorf("%q is lost and ctx.Err() is nil", key)
			}
		})
	}
	wg.Wait()
}

func TestALostLeaseMeansAnEndedContext(t *testing.T) {
	for range 20 {
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.TTL(50*time.Millisecond))
		_ = g.Do(t.Context(), "k", func(ctx context.Context) error {
			raceForTheLoss(ctx, t, store, "k")
			return nil
		})
	}
}
