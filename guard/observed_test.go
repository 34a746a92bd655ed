package guard_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

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
				if !errors.Is(err, guard.ErrLost) {
					t.Errorf("%v, want ErrLost", err)
				}
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
func TestMaxHoldThatPassesAsFnReturnsIsObservedIfItCounts(t *testing.T) {
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

func TestRunEndTellsWhatCameOfTheRelease(t *testing.T) {
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
		// Nobody had the key meanwhile, so the release frees it.
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

// atStart panics when a run, or an acquire, starts.
type atStart struct {
	recorder
	acquire, run bool
}

func (a *atStart) AcquireStart(ctx context.Context, s guard.AcquireStart) context.Context {
	if a.acquire {
		panic("acquire")
	}
	return a.recorder.AcquireStart(ctx, s)
}

func (a *atStart) RunStart(ctx context.Context, s guard.RunStart) context.Context {
	if a.run {
		panic("run")
	}
	return a.recorder.RunStart(ctx, s)
}

func TestObserverThatPanickedAtAStartHearsNoMoreOfIt(t *testing.T) {
	for name, c := range map[string]struct {
		obs  *atStart
		want string
	}{
		"acquire": {&atStart{acquire: true}, "run start, lost, run end"},
		"run":     {&atStart{run: true}, "acquire start, acquire end"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				before, after := &recorder{}, &recorder{}
				g := newGuard(t, store, guard.Observe(before), guard.Observe(c.obs), guard.Observe(after))
				for range 2 { // so that the rest is not forgotten for good
					c.obs.log, before.log, after.log = nil, nil, nil
					_ = g.Do(t.Context(), "k", func(ctx context.Context) error { store.Expire("k"); <-ctx.Done(); return nil })
					if got := strings.Join(c.obs.log, ", "); got != c.want {
						t.Errorf("it saw %q, want %q", got, c.want)
					}
					for _, other := range []*recorder{before, after} {
						if got := strings.Join(other.log, ", "); got != "acquire start, acquire end, run start, lost, run end" {
							t.Errorf("another saw %q", got)
						}
					}
				}
			})
		})
	}
}

// asked is a recorder that keeps what it was told of the beginning of acquires.
type asked struct {
	recorder
	starts []guard.AcquireStart
	ctxErr []error // of the contexts at each end
}

func (a *asked) AcquireStart(ctx context.Context, s guard.AcquireStart) context.Context {
	a.starts = append(a.starts, s)
	return a.recorder.AcquireStart(ctx, s)
}

func (a *asked) AcquireEnd(ctx context.Context, e guard.AcquireEnd) {
	a.ctxErr = append(a.ctxErr, ctx.Err())
	a.recorder.AcquireEnd(ctx, e)
}

func (a *asked) keys() (keys []string) {
	for _, s := range a.starts {
		keys = append(keys, s.Key)
	}
	return keys
}

func TestEarlyKeyOfASetThatIsLostIsNoEndOfTheOthersAcquires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, a, b := twoProcesses(t)
		obs := &asked{}
		release, _ := hold(t, b, "b")
		time.AfterFunc(time.Minute, release)
		time.AfterFunc(10*time.Second, func() { store.Expire("a") })
		if err := a.With(guard.Observe(obs)).DoAll(t.Context(), []string{"a", "b"}, nothing); err != nil {
			t.Fatal(err)
		}
		if got := obs.keys(); !slices.Equal(got, []string{"a", "b", "a"}) {
			t.Errorf("acquires of %v", got)
		}
		for i, e := range obs.acquired {
			if e.Err != nil || obs.ctxErr[i] != nil {
				t.Errorf("%s: %v, context %v", e.Key, e.Err, obs.ctxErr[i])
			}
		}
	})
}
