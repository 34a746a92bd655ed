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

func TestMinHoldCountsFromTheBeginningOfTheRun(t *testing.T) {
	for run, want := range map[time.Duration]time.Duration{
		0:               5 * time.Second,
		3 * time.Second: 5 * time.Second,
		7 * time.Second: 7 * time.Second, // long enough by itself
	} {
		t.Run(run.String(), func(t *testing.T) {
			inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
				start := time.Now()
				go func() {
					noError(t, a.Do(t.Context(), "k", func(context.Context) error { time.Sleep(run); return nil }))
				}()
				synctest.Wait()
				for _, g := range []*guard.Guard{a, b} {
					wantError(t, g.With(guard.Wait(0)).Do(t.Context(), "k", nothing), guard.ErrBusy)
				}
				noError(t, b.Do(t.Context(), "k", nothing))
				if d := time.Since(start); d < want || d > want+want/10 {
					t.Errorf("the next began after %v, want %v", d, want)
				}
			}, guard.MinHold(5*time.Second))
		})
	}
}

func TestMinHoldKeepsTheKeyClosedInOneProcess(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		var last time.Time
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				noError(t, g.Do(t.Context(), "k", func(context.Context) error {
					if d := time.Since(last); d < 5*time.Second {
						t.Errorf("began %v after the run before", d)
					}
					last = time.Now()
					return nil
				}))
			})
		}
		wg.Wait()
	}, guard.MinHold(5*time.Second))
}

func TestMaxHoldEndsTheRunAndItsRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		var end ending
		start := time.Now()
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			err := end.await(ctx)
			time.Sleep(10 * time.Second) // a TTL later the key is free, whatever fn does
			if _, held := store.Holder("k"); held {
				t.Error("still renewed after MaxHold")
			}
			return err
		})
		if d := end.at.Sub(start); d != time.Minute {
			t.Errorf("cancelled after %v", d)
		}
		if !errors.Is(end.why, guard.ErrMaxHold) || !errors.Is(err, guard.ErrMaxHold) || errors.Is(err, guard.ErrLost) {
			t.Errorf("cause %v, result %v, want ErrMaxHold alone", end.why, err)
		}
	}, guard.MaxHold(time.Minute))
}

func TestMinHoldDoesNotCountForARunThatNeverStarted(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
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
		// Either the cancelled run got in before its context ended, or nothing is kept closed.
		if d := time.Since(start); ran && d > time.Second {
			t.Errorf("kept closed for %v by a run that never started", d)
		}
	})
}

func TestMinHoldDoesNotGrowWhenTheReleaseFails(t *testing.T) {
	const poll = time.Second / 16 // the jitter of the look when a lease expires
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		start := time.Now()
		err := a.With(guard.MinHold(30*time.Second)).Do(t.Context(), "k", func(context.Context) error {
			store.Inject(guardtest.Fault{Op: guardtest.OpRelease})
			return nil
		})
		must(t, err)
		time.Sleep(10 * time.Second)
		store.Fail(nil) // the release that comes through is 10 s late
		noError(t, b.Do(t.Context(), "k", nothing))
		if d := time.Since(start); d < 30*time.Second || d > 30*time.Second+poll {
			t.Errorf("the key was kept closed for %v, want 30s", d)
		}
		time.Sleep(time.Minute)
	}, guard.TTL(20*time.Second))
}

func TestKeyThatMinHoldKeepsClosedSaysSo(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		must(t, g.Do(t.Context(), "k", nothing))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, c := range []struct {
			g     *guard.Guard
			ctx   context.Context
			after time.Duration
		}{
			{g, t.Context(), 10 * time.Second},
			{g.With(guard.Forever()), ctx, 9 * time.Second},
			{g.With(guard.Wait(2 * time.Second)), t.Context(), 7 * time.Second},
		} {
			err := c.g.Do(c.ctx, "k", nothing)
			var e *guard.Error
			if !errors.Is(err, guard.ErrBusy) || !errors.Is(err, guard.ErrKeptClosed) || !errors.As(err, &e) || e.RetryAfter != c.after {
				t.Errorf("Do() = %v, want ErrKeptClosed for %v", err, c.after)
			}
		}
		err := g.Do(t.Context(), "k", nothing)
		if !strings.HasSuffix(err.Error(), "its run is over, and its MinHold is not") {
			t.Errorf("Do() = %v", err)
		}
	}, guard.MinHold(10*time.Second), guard.Wait(0))
}
