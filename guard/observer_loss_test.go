package guard_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestLossIsObservedWithItsReason(t *testing.T) {
	for reason, c := range map[guard.LossReason]struct {
		lose func(*guardtest.Store)
		err  error
	}{
		guard.LostNotOwner: {func(s *guardtest.Store) { s.Hold("k", "thief") }, guard.ErrLost},
		guard.LostExpired:  {func(s *guardtest.Store) { s.Fail(context.DeadlineExceeded) }, guard.ErrLost},
		guard.LostMaxHold:  {func(*guardtest.Store) {}, guard.ErrMaxHold},
	} {
		t.Run(string(reason), func(t *testing.T) {
			obs := &recorder{}
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				_ = g.Do(t.Context(), "k", func(ctx context.Context) error {
					c.lose(store)
					return untilDone(ctx)
				})
				store.Fail(nil)
				_ = g.Shutdown(t.Context())
				if losses := obs.losses(); len(losses) != 1 || losses[0].Reason != reason || !errors.Is(losses[0].Err, c.err) {
					t.Errorf("saw %+v", obs.events)
				}
			}, guard.Observe(obs), guard.MaxHold(time.Minute))
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
	stolen := func(s *guardtest.Store) { s.Hold("k", "thief"); time.Sleep(time.Minute) }
	for name, c := range map[string]struct {
		harm   func(*guardtest.Store)
		reason guard.LossReason
		keys   []string
	}{
		"expired":   {func(s *guardtest.Store) { s.Fail(errors.New("down")); time.Sleep(time.Minute); s.Fail(nil) }, guard.LostExpired, []string{"k"}},
		"not owner": {stolen, guard.LostNotOwner, []string{"k"}},
		"of a set":  {stolen, guard.LostNotOwner, []string{"a", "k"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				obs := &early{do: func() { c.harm(store) }}
				err := g.With(guard.Observe(obs)).DoAll(t.Context(), c.keys, func(ctx context.Context) error {
					if ctx.Err() == nil {
						t.Error("fn's context goes on without the lease")
					}
					if n := len(obs.events); n == 0 || obs.events[n-1].Kind != guard.EventLost {
						t.Errorf("when fn began the observer had seen %v", obs.log)
					}
					return nil
				})
				wantError(t, err, guard.ErrLost)
				if losses := obs.losses(); len(losses) != 1 || losses[0].Reason != c.reason || losses[0].Key != "k" {
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
	refused := fmt.Errorf("NOPERM: %w", lease.ErrRefused)
	// fault has a run end with an injected fault, steal with another owner of its key.
	fault := func(f guardtest.Fault) func(context.Context, *guardtest.Store) error {
		return func(_ context.Context, s *guardtest.Store) error { s.Inject(f); return nil }
	}
	steal := func(_ context.Context, s *guardtest.Store) error { s.Hold("k", "thief"); return nil }
	for name, c := range map[string]struct {
		opts    []guard.Option
		fn      func(context.Context, *guardtest.Store) error
		lost    guard.LossReason
		release guard.ReleaseResult
	}{
		"given back":        {nil, func(context.Context, *guardtest.Store) error { return nil }, "", guard.ReleaseDone},
		"no answer":         {nil, fault(guardtest.Fault{Op: guardtest.OpRelease, Times: 2}), "", guard.ReleaseFailed},
		"first answer lost": {nil, fault(guardtest.Fault{Op: guardtest.OpRelease, Lost: true, Times: 1}), "", guard.ReleaseDone},
		"second attempt":    {nil, fault(guardtest.Fault{Op: guardtest.OpRelease, Err: errors.New("LOADING"), Times: 1}), "", guard.ReleaseDone},
		"stolen":            {nil, steal, guard.LostNotOwner, guard.ReleaseLost},
		"stolen, found by the second attempt": {nil, func(_ context.Context, s *guardtest.Store) error {
			s.Hold("k", "thief")
			s.Inject(guardtest.Fault{Op: guardtest.OpRelease, Err: refused, Times: 1})
			return nil
		}, guard.LostNotOwner, guard.ReleaseLost},
		"expired and stolen": {nil, func(ctx context.Context, s *guardtest.Store) error {
			s.Hold("k", "thief")
			return untilDone(ctx)
		}, guard.LostNotOwner, guard.ReleaseLost},
		// No other had the key meanwhile, so the release frees it.
		"too long": {[]guard.Option{guard.MaxHold(time.Second)}, func(ctx context.Context, _ *guardtest.Store) error {
			return untilDone(ctx)
		}, guard.LostMaxHold, guard.ReleaseDone},
		"not renewed in time": {nil, func(ctx context.Context, s *guardtest.Store) error {
			s.Inject(guardtest.Fault{Op: guardtest.OpRenew, Err: errors.New("down")})
			return untilDone(ctx)
		}, guard.LostExpired, guard.ReleaseDone},
		"panic": {nil, func(ctx context.Context, s *guardtest.Store) error {
			_ = steal(ctx, s)
			panic("fn")
		}, guard.LostNotOwner, guard.ReleaseLost},
	} {
		t.Run(name, func(t *testing.T) {
			obs := &recorder{}
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				func() {
					defer func() { _ = recover() }()
					err := g.Do(t.Context(), "k", func(ctx context.Context) error { return c.fn(ctx, store) })
					if (err != nil) != (c.lost != "") {
						t.Errorf("Do() = %v, lost %q", err, c.lost)
					}
				}()
				if e := obs.ended[0]; e.Lost != c.lost || e.Release != c.release {
					t.Errorf("RunEnd: lost %q, release %q, want %q, %q", e.Lost, e.Release, c.lost, c.release)
				}
				if obs.saw(guard.EventLost) != (c.lost != "") || obs.saw(guard.EventReleaseFailed) != (c.release == guard.ReleaseFailed) {
					t.Errorf("saw %v", obs.log)
				}
				if owner, held := store.Holder("k"); c.release == guard.ReleaseLost && owner != "thief" || c.release == guard.ReleaseDone && held {
					t.Errorf("held by %q after %s", owner, c.release)
				}
			}, append(c.opts, guard.Observe(obs))...)
		})
	}
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
