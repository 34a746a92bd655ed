package guard_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestLossIsObservedWithItsReason(t *testing.T) {
	for reason, lose := range map[guard.LossReason]func(*guardtest.Store){
		guard.LostNotOwner: func(s *guardtest.Store) { s.Hold("k", "thief") },
		guard.LostExpired:  func(s *guardtest.Store) { s.Fail(context.DeadlineExceeded) },
		guard.LostMaxHold:  func(*guardtest.Store) {},
	} {
		t.Run(string(reason), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				obs := &recorder{}
				g := newGuard(t, store, guard.Observe(obs), guard.MaxHold(time.Minute))
				_ = g.Do(t.Context(), "k", func(ctx context.Context) error {
					lose(store)
					<-ctx.Done()
					return nil
				})
				store.Fail(nil)
				_ = g.Shutdown(t.Context())
				for _, e := range obs.events {
					want := guard.ErrLost
					if reason == guard.LostMaxHold {
						want = guard.ErrMaxHold
					}
					if e.Kind == guard.EventLost && e.Reason == reason && errors.Is(e.Err, want) {
						return
					}
				}
				t.Errorf("saw %+v", obs.events)
			})
		})
	}
}

// early is a recorder that does something when a run starts.
type early struct {
	recorder
	do func()
}

func (e *early) RunStart(ctx context.Context, r guard.RunStart) context.Context {
	ctx = e.recorder.RunStart(ctx, r)
	e.do()
	return ctx
}

func (e *early) Event(ctx context.Context, ev guard.Event) {
	if ev.Kind == guard.EventLost && ctx.Value(mark("run")) == nil {
		e.add("EventLost without RunStart's context", nil)
	}
	e.recorder.Event(ctx, ev)
}

func TestLossBeforeFnBeginsIsObserved(t *testing.T) {
	for name, c := range map[string]struct {
		harm   func(*guardtest.Store)
		reason guard.LossReason
		keys   []string
	}{
		"expired":   {func(s *guardtest.Store) { s.Fail(errors.New("down")); time.Sleep(time.Minute); s.Fail(nil) }, guard.LostExpired, []string{"k"}},
		"not owner": {func(s *guardtest.Store) { s.Hold("k", "thief"); time.Sleep(time.Minute) }, guard.LostNotOwner, []string{"k"}},
		"of a set":  {func(s *guardtest.Store) { s.Hold("k", "thief"); time.Sleep(time.Minute) }, guard.LostNotOwner, []string{"a", "k"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				obs := &early{do: func() { c.harm(store) }}
				g := newGuard(t, store, guard.Observe(obs))
				err := g.DoAll(t.Context(), c.keys, func(ctx context.Context) error {
					if ctx.Err() == nil {
						t.Error("fn's context goes on without the lease")
					}
					if n := len(obs.events); n == 0 || obs.events[n-1].Kind != guard.EventLost {
						t.Errorf("when fn began the observer had seen %v", obs.log)
					}
					return nil
				})
				wantError(t, err, guard.ErrLost)
				var losses []guard.Event
				for _, e := range obs.events {
					if e.Kind == guard.EventLost {
						losses = append(losses, e)
					}
				}
				if len(losses) != 1 || losses[0].Reason != c.reason || losses[0].Key != "k" {
					t.Errorf("losses: %+v, want one of k: %s", losses, c.reason)
				}
				if e := obs.ended[0]; e.Lost != c.reason {
					t.Errorf("RunEnd says %q was why", e.Lost)
				}
			})
		})
	}
}

// Whatever comes first, the function's return or MaxHold: the error, the event and
// RunEnd agree.
func TestMaxHoldIsObservedIfItEndedTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tooLong := 0
		for range 300 {
			obs := &recorder{}
			g := newGuard(t, guardtest.NewStore(), guard.Observe(obs), guard.MaxHold(time.Second))
			err := g.Do(t.Context(), "k", func(context.Context) error { time.Sleep(time.Second); return nil })
			var want guard.LossReason
			if errors.Is(err, guard.ErrMaxHold) {
				want = guard.LostMaxHold
				tooLong++
			}
			if e := obs.ended[0]; e.Lost != want || e.Release != guard.ReleaseDone {
				t.Fatalf("Do() = %v, RunEnd %+v", err, e)
			}
			if obs.saw(guard.EventLost) != (want != "") || len(obs.events) > 1 {
				t.Fatalf("Do() = %v, events %+v", err, obs.events)
			}
		}
		t.Logf("MaxHold came first %d times of 300", tooLong)
	})
}

func TestRunEndHasTheResultOfTheRelease(t *testing.T) {
	untilLost := func(ctx context.Context) error { <-ctx.Done(); return nil }
	for name, c := range map[string]struct {
		opts    []guard.Option
		fn      func(*guardtest.Store) func(context.Context) error
		lost    guard.LossReason
		release guard.ReleaseResult
	}{
		"given back": {nil, func(*guardtest.Store) func(context.Context) error { return nothing }, "", guard.ReleaseDone},
		"no answer": {nil, func(s *guardtest.Store) func(context.Context) error {
			return func(context.Context) error { s.Inject(guardtest.Fault{Op: guardtest.OpRelease, Times: 2}); return nil }
		}, "", guard.ReleaseFailed},
		"first answer lost": {nil, func(s *guardtest.Store) func(context.Context) error {
			return func(context.Context) error {
				s.Inject(guardtest.Fault{Op: guardtest.OpRelease, Lost: true, Times: 1})
				return nil
			}
		}, "", guard.ReleaseDone},
		"stolen": {nil, func(s *guardtest.Store) func(context.Context) error {
			return func(context.Context) error { s.Hold("k", "thief"); return nil }
		}, guard.LostNotOwner, guard.ReleaseLost},
		"expired and stolen": {nil, func(s *guardtest.Store) func(context.Context) error {
			return func(ctx context.Context) error { s.Hold("k", "thief"); return untilLost(ctx) }
		}, guard.LostNotOwner, guard.ReleaseLost},
		// No other had the key meanwhile, so the release frees it.
		"too long": {[]guard.Option{guard.MaxHold(time.Second)}, func(*guardtest.Store) func(context.Context) error { return untilLost }, guard.LostMaxHold, guard.ReleaseDone},
		"not renewed in time": {nil, func(s *guardtest.Store) func(context.Context) error {
			return func(ctx context.Context) error {
				s.Inject(guardtest.Fault{Op: guardtest.OpRenew, Err: errors.New("down")})
				return untilLost(ctx)
			}
		}, guard.LostExpired, guard.ReleaseDone},
		"panic": {nil, func(s *guardtest.Store) func(context.Context) error {
			return func(context.Context) error { s.Hold("k", "thief"); panic("fn") }
		}, guard.LostNotOwner, guard.ReleaseLost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				obs := &recorder{}
				g := newGuard(t, store, append(c.opts, guard.Observe(obs))...)
				func() {
					defer func() { _ = recover() }()
					_ = g.Do(t.Context(), "k", c.fn(store))
				}()
				if e := obs.ended[0]; e.Lost != c.lost || e.Release != c.release {
					t.Errorf("RunEnd: lost %q, release %q, want %q, %q", e.Lost, e.Release, c.lost, c.release)
				}
			})
		})
	}
}

func TestLossFoundByTheReleaseIsObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		obs := &recorder{}
		g := newGuard(t, store, guard.Observe(obs))
		_ = g.Do(t.Context(), "k", func(context.Context) error { store.Hold("k", "thief"); return nil })
		if got := strings.Join(obs.log, ", "); got != "acquire start, acquire end, run start, lost, run end" {
			t.Errorf("saw %s", got)
		}
	})
}

// slow is a recorder that takes its time over events.
type slow struct{ recorder }

func (s *slow) Event(ctx context.Context, e guard.Event) {
	time.Sleep(5 * time.Millisecond)
	s.recorder.Event(ctx, e)
}

func TestEventsOfARunComeBeforeItsEnd(t *testing.T) {
	for name, waiters := range map[string]int{"released": 0, "handed on": 2} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
				obs := &slow{}
				observed := g.With(guard.Observe(obs))
				end, _ := hold(t, g, "k")
				var wg sync.WaitGroup
				wg.Go(func() {
					noError(t, observed.Do(t.Context(), "k", func(ctx context.Context) error {
						time.Sleep(time.Millisecond)
						go func() { _ = guard.Ensure(ctx, 9*time.Second) }() // renews
						time.Sleep(time.Millisecond)
						return nil
					}))
				})
				synctest.Wait()
				for range waiters {
					wg.Go(func() { _ = g.Do(t.Context(), "k", nothing) })
				}
				synctest.Wait()
				end()
				wg.Wait()
				if n := len(obs.log); !slices.Equal(obs.log[n-2:], []string{"renewed", "run end"}) {
					t.Errorf("saw %s", strings.Join(obs.log, ", "))
				}
			})
		})
	}
}
