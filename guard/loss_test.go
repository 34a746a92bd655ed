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

// untilDone is an fn that works until its context ends, and tells when and why.
func untilDone(when *time.Time, why *error) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		*when, *why = time.Now(), context.Cause(ctx)
		return nil
	}
}

func TestRenewalKeepsALongRunAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			time.Sleep(time.Hour)
			return ctx.Err()
		})
		if err != nil {
			t.Error(err)
		}
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
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.TTL(3*time.Second), guard.Margin(300*time.Millisecond))
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
	})
}

func TestSlowReplyDoesNotExtendTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.TTL(4*time.Second), guard.Margin(400*time.Millisecond))
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
		if !errors.Is(err, guard.ErrLost) {
			t.Error(err)
		}
	})
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

func TestOnlyNotTheOwnerIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, steal := range map[string]func(*guardtest.Store){
			"deleted": func(s *guardtest.Store) { s.Expire("k") },
			"stolen":  func(s *guardtest.Store) { s.Hold("k", "thief") },
		} {
			store := guardtest.NewStore()
			g := newGuard(t, store)
			var when time.Time
			var why error
			start := time.Now()
			time.AfterFunc(time.Second, func() { steal(store) })
			err := g.Do(t.Context(), "k", untilDone(&when, &why))
			if !errors.Is(err, guard.ErrLost) || !errors.Is(why, guard.ErrLost) {
				t.Errorf("%s: result %v, cause %v, want ErrLost", name, err, why)
			}
			if d := when.Sub(start); d > 10*time.Second/3 {
				t.Errorf("%s: noticed after %v, want by the next renewal", name, d)
			}
			if owner, ok := store.Holder("k"); name == "stolen" && (!ok || owner != "thief") {
				t.Errorf("the thief's lease was touched: %q %v", owner, ok)
			}
		}
	})
}

func TestLossIsReportedEvenIfFnReturnsNil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
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

func TestReleaseThatFindsAnotherOwnerIsALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Hold("k", "thief")
			return ctx.Err()
		})
		if !errors.Is(err, guard.ErrLost) {
			t.Errorf("Do() = %v, want ErrLost", err)
		}
		if owner, _ := store.Holder("k"); owner != "thief" {
			t.Errorf("held by %q: the release hit somebody else's lease", owner)
		}
	})
}

func TestReleaseWhoseReplyIsLostIsASuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		store.Inject(guardtest.Fault{Op: guardtest.OpRelease, Lost: true, Times: 1})
		if err := g.Do(t.Context(), "k", nothing); err != nil {
			t.Errorf("Do() = %v", err)
		}
	})
}

func TestFailedReleaseIsNoErrorAndIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		obs := &recorder{}
		g := newGuard(t, store, guard.Observe(obs))
		store.Inject(guardtest.Fault{Op: guardtest.OpRelease, Times: 4})
		if err := g.Do(t.Context(), "k", nothing); err != nil {
			t.Errorf("Do() = %v", err)
		}
		if !obs.saw(guard.EventReleaseFailed) {
			t.Error("the observer was not told")
		}
		time.Sleep(5 * time.Second)
		if owner, ok := store.Holder("k"); ok {
			t.Errorf("still held by %q: nobody retried", owner)
		}
	})
}

func TestCancelDoesNotReleaseBeforeFnReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t)
		ctx, cancel := context.WithCancel(t.Context())
		cleaned := false
		go func() {
			_ = a.Do(ctx, "k", func(ctx context.Context) error {
				cancel()
				<-ctx.Done()
				time.Sleep(time.Minute) // slow to clean up: several TTLs
				cleaned = true
				return nil
			})
		}()
		synctest.Wait()
		err := b.Do(t.Context(), "k", func(context.Context) error {
			if !cleaned {
				t.Error("overlaps with the clean-up")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestRenewalGoesOnAfterALossWhileTheKeyIsStillOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, a, b := twoProcesses(t)
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
		err := b.Do(t.Context(), "k", func(context.Context) error {
			if stubborn {
				t.Error("started beside the run that ignores its context")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, guard.ErrLost) {
			t.Errorf("Do() = %v, want ErrLost", err)
		}
	})
}

func TestRenewalNeverRecreatesALostKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
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
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		go func() {
			_ = g.Do(context.Background(), "k", func(context.Context) error {
				store.Expire("k")
				time.Sleep(time.Hour)
				return nil
			})
		}()
		synctest.Wait()
		start := time.Now()
		if err := g.Do(t.Context(), "k", nothing); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("waited %v for a run that has lost its lease", d)
		}
		time.Sleep(2 * time.Hour)
	})
}

func TestMaxHoldEndsTheRunAndItsRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.MaxHold(time.Minute))
		var when time.Time
		var why error
		start := time.Now()
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			err := untilDone(&when, &why)(ctx)
			time.Sleep(10 * time.Second) // a TTL later the key is free, whatever fn does
			if _, held := store.Holder("k"); held {
				t.Error("still renewed after MaxHold")
			}
			return err
		})
		if d := when.Sub(start); d != time.Minute {
			t.Errorf("cancelled after %v", d)
		}
		if !errors.Is(why, guard.ErrMaxHold) || !errors.Is(err, guard.ErrMaxHold) || errors.Is(err, guard.ErrLost) {
			t.Errorf("cause %v, result %v, want ErrMaxHold alone", why, err)
		}
	})
}

func TestMinHoldKeepsTheKeyShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t, guard.MinHold(5*time.Second))
		start := time.Now()
		if err := a.Do(t.Context(), "k", nothing); err != nil {
			t.Fatal(err)
		}
		for _, g := range []*guard.Guard{a, b} {
			if err := g.With(guard.Wait(0)).Do(t.Context(), "k", nothing); !errors.Is(err, guard.ErrBusy) {
				t.Errorf("Do() = %v while the key is shut, want ErrBusy", err)
			}
		}
		if err := b.Do(t.Context(), "k", nothing); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d < 5*time.Second || d > 5500*time.Millisecond {
			t.Errorf("the next run began after %v, want 5s", d)
		}
	})
}

func TestMinHoldDoesNotCountForARunThatNeverStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t)
		end, _ := hold(t, a, "k")
		ctx, cancel := context.WithCancel(t.Context())
		slow := b.With(guard.MinHold(time.Hour))
		go func() { _ = slow.Do(ctx, "k", nothing) }()
		synctest.Wait()
		go cancel()
		go end()
		synctest.Wait()
		start := time.Now()
		ran := false
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := a.Do(ctx, "k", func(context.Context) error { ran = true; return nil })
		if err != nil && ran {
			t.Error(err)
		}
		// Either the cancelled run got in before its context ended, or nothing is shut.
		if d := time.Since(start); ran && d > time.Second {
			t.Errorf("shut for %v by a run that never started", d)
		}
	})
}

func TestWhoeverSeesThatTheLeaseIsLostSeesItsContextEnded(t *testing.T) {
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

func TestMinHoldDoesNotGrowWhenTheReleaseFails(t *testing.T) {
	const poll = time.Second / 16 // the jitter of the look when a lease expires
	synctest.Test(t, func(t *testing.T) {
		store, a, b := twoProcesses(t, guard.TTL(20*time.Second))
		start := time.Now()
		err := a.With(guard.MinHold(30*time.Second)).Do(t.Context(), "k", func(context.Context) error {
			store.Inject(guardtest.Fault{Op: guardtest.OpRelease})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		store.Fail(nil) // the release that comes through is 10 s late
		if err := b.Do(t.Context(), "k", nothing); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d < 30*time.Second || d > 30*time.Second+poll {
			t.Errorf("the key was shut for %v, want 30s", d)
		}
		time.Sleep(time.Minute)
	})
}
