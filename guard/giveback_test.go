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

func TestMinHoldCountsFromTheBeginningOfTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for run, want := range map[time.Duration]time.Duration{
			3 * time.Second: 5 * time.Second,
			7 * time.Second: 7 * time.Second, // long enough by itself
		} {
			_, a, b := twoProcesses(t, guard.MinHold(5*time.Second))
			start := time.Now()
			err := a.Do(t.Context(), "k", func(context.Context) error { time.Sleep(run); return nil })
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Do(t.Context(), "k", nothing); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d < want || d > want+want/10 {
				t.Errorf("after a run of %v the next began after %v, want %v", run, d, want)
			}
		}
	})
}

func TestMinHoldKeepsTheKeyShutForTheSameProcessToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guardtest.NewStore(), guard.MinHold(5*time.Second))
		var last time.Time
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				err := g.Do(t.Context(), "k", func(context.Context) error {
					if d := time.Since(last); d < 5*time.Second {
						t.Errorf("began %v after the run before", d)
					}
					last = time.Now()
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func TestLossByExpiryTellsWhyRenewalsFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		down := errors.New("connection refused")
		store.Inject(guardtest.Fault{Op: guardtest.OpRenew, Err: down})
		var when time.Time
		var why error
		err := g.Do(t.Context(), "k", untilDone(&when, &why))
		if !errors.Is(err, down) || !errors.Is(why, down) {
			t.Errorf("result %v, cause %v, want them to tell %v", err, why, down)
		}
	})
}

func TestRunThatOutlivedItsTrustStillGivesTheKeyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		store.Inject(guardtest.Fault{Op: guardtest.OpRenew, Lost: true}) // renewed, but nobody hears of it
		var when time.Time
		var why error
		err := g.Do(t.Context(), "k", untilDone(&when, &why))
		if !errors.Is(err, guard.ErrLost) {
			t.Errorf("Do() = %v, want ErrLost", err)
		}
		if owner, held := store.Holder("k"); held {
			t.Errorf("still held by %q", owner)
		}
	})
}

func TestReleaseIsTriedTwiceBeforeTheCallerIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		obs := &recorder{}
		g := newGuard(t, store, guard.Observe(obs))
		store.Inject(guardtest.Fault{Op: guardtest.OpRelease, Err: errors.New("LOADING"), Times: 1})
		if err := g.Do(t.Context(), "k", nothing); err != nil {
			t.Errorf("Do() = %v", err)
		}
		if _, held := store.Holder("k"); held || obs.saw(guard.EventReleaseFailed) {
			t.Errorf("held %v, events %v after one failed attempt", held, obs.log)
		}
	})
}

func TestAfterALossTheReleaseIsTriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		var when time.Time
		var why error
		store.Inject(guardtest.Fault{}) // the network is gone
		store.Fail(nil)
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Inject(guardtest.Fault{})
			return untilDone(&when, &why)(ctx)
		})
		if !errors.Is(err, guard.ErrLost) {
			t.Errorf("Do() = %v, want ErrLost", err)
		}
		if d := time.Since(when); d > time.Second {
			t.Errorf("kept the caller for %v after the loss, want one attempt", d)
		}
		store.Fail(nil)
		time.Sleep(time.Minute)
	})
}
