package cronwrap_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// lasts is a job whose runs number from to last end only when their context does: to
// the other replicas a runner that is dead.
func lasts(from, to int) func(*timeline, context.Context) error {
	return func(f *timeline, ctx context.Context) error {
		if n := len(f.runs()); from <= n && n <= to {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
}

func TestTickWhoseRunnerIsLostIsTakenOverAtLeastOnceOnly(t *testing.T) {
	for name, c := range map[string]struct {
		opts     []any
		replicas int
		want     []int
	}{
		"at most once":                   {nil, 3, []int{60, 120}},
		"at most once, wait":             {[]any{cronwrap.OverlapWait()}, 3, []int{60, 120}},
		"catch up":                       {[]any{cronwrap.CatchUp(9, h)}, 3, []int{60, 120}},
		"at least once":                  {[]any{cronwrap.AtLeastOnce(h)}, 3, []int{60, 60, 120}},
		"at least once, wait":            {[]any{cronwrap.AtLeastOnce(h), cronwrap.OverlapWait()}, 3, []int{60, 60, 120}},
		"at least once, its own replica": {[]any{cronwrap.AtLeastOnce(h)}, 1, []int{60, 60, 120}},
		"nothing can be taken over":      {[]any{cronwrap.AtLeastOnce(h), guard.Limit(2)}, 3, []int{60, 120}},
	} {
		t.Run(name, func(t *testing.T) {
			fleet(t, "@every 1m", c.opts...).job(lasts(1, 1)).at(0, start(c.replicas-1)).at(70*s, free).
				at(85*s, told(guard.ErrLost, 60)).at(130 * s).ran(c.want...)
		})
	}
}

// A replica that starts during the run waits too: there may be no other.
func TestTickIsTakenOverByAReplicaThatStartsLater(t *testing.T) {
	fleet(t, "@every 1h", cronwrap.AtLeastOnce(h)).job(lasts(1, 1)).at(h+m, start(1)).
		at(h+2*m, ran(3600), func(f *timeline) { f.replicas[0].cron.Stop() }, free).at(h+3*m, told(guard.ErrLost, 3600)).ran(3600, 3600)
}

// The lease of a run is lost so shortly before the next tick that no replica has taken
// it over by then.
func TestLaterTickRunsAfterOneThatIsNotDone(t *testing.T) {
	for name, opts := range map[string][]any{"drop": nil, "wait": {cronwrap.OverlapWait()}} {
		t.Run(name, func(t *testing.T) {
			fleet(t, "@every 60s", append(opts, cronwrap.AtLeastOnce(m), guard.TTL(3*s))...).job(lasts(1, 1)).
				at(118600*ms, free).at(178*s, told(guard.ErrLost, 60)).ran(60, 60, 120)
		})
	}
}

// However many have come due since, and also if it is no tick of the schedule any more.
func TestTickThatIsNotDoneIsRunAgainHoweverLate(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.AtLeastOnce(20*s)).job(lasts(1, 1)).
		at(15*s, free, kill, tellsAnything, func(f *timeline) { f.spec = "@every 15s" }).at(101*s, start(3)).at(111*s).ran(10, 10, 90, 105)
}

// A runner dies again and again. Then the tick is dead, for all replicas, and the next
// goes on.
func TestTickIsDeadAfterMaxAttempts(t *testing.T) {
	for name, c := range map[string]struct {
		opts []any
		want []int
	}{
		"default": {nil, []int{10, 10, 10, 60}},
		"one":     {[]any{cronwrap.MaxAttempts(1)}, []int{10, 60}},
		"five":    {[]any{cronwrap.MaxAttempts(5)}, []int{10, 10, 10, 10, 10, 60}},
	} {
		t.Run(name, func(t *testing.T) {
			attempts := []int{}
			f := fleet(t, "@every 50s", append(c.opts, cronwrap.AtLeastOnce(5*s))...).at(0, start(2))
			f.job(func(f *timeline, ctx context.Context) error {
				attempts = append(attempts, cronwrap.Attempt(ctx))
				return lasts(1, len(c.want)-1)(f, ctx)
			})
			for i := range c.want[1:] {
				f.at(time.Duration(51+i*3)*s, free)
			}
			var dead []*cronwrap.Error
			f.at(99*s, func(f *timeline) {
				for _, e := range f.reported() {
					if errors.Is(e, cronwrap.ErrDead) {
						dead = append(dead, e)
					} else if !errors.Is(e, guard.ErrLost) {
						t.Errorf("reported: %v", e)
					}
				}
				if len(dead) != 1 || !dead[0].Tick.Equal(f.time(50)) {
					t.Errorf("dead: %v, want 50 once", dead)
				}
			}).at(101*s, each(func(r *replica) {
				if last, err := f.store.LastTick(f.Context(), "report"); err != nil || !last.Dead.Equal(f.time(50)) {
					t.Errorf("LastTick() = %+v, %v, want 50 dead", last, err)
				}
				if jobs := r.Jobs(); !jobs[0].Dead.Equal(f.time(50)) {
					t.Errorf("Jobs() = %+v, want 50 dead", jobs)
				}
			})).live(func(f *timeline) {
				for i, tick := range f.runs() {
					if want := 50 + 50*(i/(len(c.want)-1)); f.second(tick) != want || attempts[i] != 1+i%(len(c.want)-1) {
						t.Errorf("run %d: tick %d, attempt %d, want tick %d", i, f.second(tick), attempts[i], want)
					}
				}
				if n := len(attempts); n != len(c.want) {
					t.Errorf("%d runs, want %d", n, len(c.want))
				}
			})
		})
	}
}

// A deployment is not an attempt.
func TestRunThatShutdownBreaksOffIsTakenOverAndIsNoAttempt(t *testing.T) {
	f := fleet(t, "@every 1h", cronwrap.AtLeastOnce(h)).job(func(f *timeline, ctx context.Context) error {
		if n := cronwrap.Attempt(ctx); n != 1 {
			f.Errorf("attempt %d", n)
		}
		return lasts(1, 5)(f, ctx)
	})
	for i := range 5 {
		f.at(h+time.Duration(i+1)*s, tellsAnything, kill, start(1))
	}
	f.at(h+m, tellsAnything).ran(3600, 3600, 3600, 3600, 3600, 3600)
	// One that says that it did finish is over.
	fleet(t, "@every 1h", cronwrap.AtLeastOnce(h)).job(func(_ *timeline, ctx context.Context) error { <-ctx.Done(); return nil }).
		at(h+m, kill, start(1)).at(h + 2*m).ran(3600)
}

func TestFailedRunIsOverAlsoAtLeastOnce(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errJob },
		"panic": func() error { panic(errJob) },
	} {
		t.Run(name, func(t *testing.T) {
			fleet(t, "@every 1m", cronwrap.AtLeastOnce(h)).job(func(*timeline, context.Context) error { return fail() }).
				at(0, start(2)).at(150*s, told(errJob, 60, 120)).ran(60, 120)
		})
	}
}

// The replicas that wait fail like the run itself, and wait again.
func TestAtLeastOnceOutlastsAnOutageOfTheStore(t *testing.T) {
	fleet(t, "@every 10m", cronwrap.AtLeastOnce(h)).at(0, start(1)).job(func(_ *timeline, ctx context.Context) error {
		select {
		case <-time.After(m):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}).at(10*m+5*s, down).at(10*m+45*s, up).at(15*m, ran(600, 600), tellsAnything).at(22*m).ran(600, 600, 1200)
}

// The goroutine that looks does not give up: the next tick is an hour away.
func TestTickWhoseRunIsLostAgainIsRunAgainSoon(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(*timeline, context.Context)
		want []error
	}{
		"during the run": {func(f *timeline, ctx context.Context) { free(f); <-ctx.Done() }, []error{guard.ErrLost}},
		"after it, and not marked done": {func(f *timeline, _ context.Context) {
			fault(guardtest.Fault{Op: guardtest.OpEndTick, Err: errDown, Times: 3})(f)
			free(f)
		}, []error{guard.ErrUnavailable, guard.ErrLost}},
	} {
		t.Run(name, func(t *testing.T) {
			later(t, "@every 1h", cronwrap.AtLeastOnce(h)).job(func(f *timeline, ctx context.Context) error {
				if len(f.runs()) == 1 {
					c.lose(f, ctx)
				}
				return nil
			}).at(0, other(0, 1, false)).at(m, start(1)).at(2*m, func(f *timeline) {
				errs := f.reported()
				for i, e := range errs {
					if len(errs) != len(c.want) || !errors.Is(e, c.want[i]) || f.second(e.Tick) != 0 {
						t.Errorf("reported: %v, want %v of 0", e, c.want)
					}
				}
			}).ran(0, 0)
		})
	}
}

// A tick waits for other code. Another replica has run it by then.
func TestTickThatWaitsForNothingGivesWay(t *testing.T) {
	fleet(t, "@every 1m", cronwrap.AtLeastOnce(h)).at(0, rival).at(65*s, other(60, 0, true)).at(2*m+5*s, free).at(2*m + 20*s).ran(120)
}

func TestEndOfATickIsSentToTheStoreAgain(t *testing.T) {
	fleet(t, "@every 1m", cronwrap.AtLeastOnce(h)).at(0, fault(guardtest.Fault{Op: guardtest.OpEndTick, Err: errDown, Times: 2})).
		at(90*s, func(f *timeline) {
			if last, err := f.store.LastTick(f.Context(), "report"); err != nil || !last.Done {
				t.Errorf("LastTick() = %+v, %v, want it done", last, err)
			}
		}).ran(60)
}

// The handler gets an error: the tick may run again. Later ticks run nevertheless: a
// run that knows its own ticks does not wait for them.
func TestTickThatCouldNotBeMarkedDoneIsReportedAndHoldsUpNoOther(t *testing.T) {
	later(t, "@every 10s", cronwrap.AtLeastOnce(h)).at(0, began).at(35*s, fault(guardtest.Fault{Op: guardtest.OpEndTick, Err: errDown, Times: 3}), start(1)).
		at(45*s, told(guard.ErrUnavailable, 10)).ran(10, 20, 30, 40)
}

func TestRunWhoseEndCannotBeMarkedHoldsTheKeyForAtMost3Seconds(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.AtLeastOnce(h)).at(0, fault(guardtest.Fault{Op: guardtest.OpEndTick, Times: 3})).
		at(13*s+ms, nothingHeld, told(guard.ErrUnavailable, 10)).ran(10)
}

// A runner that has lost the key, and has not noticed, claims a tick after the next
// holder has looked for one that is not done, and dies.
func TestTickClaimedAfterTheNextHolderLookedIsNotPassedOver(t *testing.T) {
	f := later(t, "@every 10s", cronwrap.AtLeastOnce(5*s))
	var once sync.Once
	f.over = func(store *guardtest.Store) lease.Store {
		return &between{Store: store, before: func() { once.Do(func() { other(10, 1, false)(f) }) }}
	}
	f.at(0, other(0, 1, true)).at(16*s, start(1)).at(25*s).ran(10, 20)
}

// The lease of a run is dropped, another replica takes the key, and the runner, which
// has not noticed, goes on to the next tick of its backfill.
func TestTicksAreNotClaimedOverTheRunOfTheNextHolder(t *testing.T) {
	for name, c := range map[string]struct {
		opt  cronwrap.JobOption
		want []int
	}{
		"at most once":  {cronwrap.CatchUp(3, h), []int{10, 20, 30, 40}},
		"at least once": {cronwrap.AtLeastOnce(h), []int{10, 10, 20, 30, 40}},
	} {
		t.Run(name, func(t *testing.T) {
			later(t, "@every 10s", c.opt, cronwrap.OverlapWait()).lasting(3*s).at(0, began).at(35*s, start(2)).
				at(36*s, free, knock).at(49*s, told(guard.ErrLost, 10)).ran(c.want...)
		})
	}
}

// Ticks that were dropped for a run whose runner died were missed.
func TestTickThatWasDroppedForADeadRunIsRunOrReported(t *testing.T) {
	for name, c := range map[string]struct {
		opts []any
		tell action
		want []int
	}{
		"at most once":  {nil, told(cronwrap.ErrMissed, 20), []int{30, 40}},
		"catch up":      {[]any{cronwrap.CatchUp(10, h)}, told(nil), []int{20, 30, 40}},
		"at least once": {[]any{cronwrap.AtLeastOnce(h)}, told(nil), []int{10, 20, 30, 40}},
	} {
		t.Run(name, func(t *testing.T) {
			// Another runner claims 10, and dies. Its lease lasts until 25.
			f := fleet(t, "@every 10s", c.opts...)
			f.at(9*s, func(f *timeline) {
				f.store.HoldFor("report", lease.OwnerID("dead", 1, "dead", ""), 16*s)
			}).at(9500*ms, func(f *timeline) { f.replicas[0].SetClock(0) }).at(10*s, func(f *timeline) {
				r := lease.TickRequest{Key: "report", Owner: lease.OwnerID("dead", 1, "dead", ""), At: f.time(10), Fence: 1}
				if reply, err := f.store.ClaimTick(f.Context(), r); err != nil || !reply.Claimed {
					t.Fatalf("ClaimTick() = %+v, %v", reply, err)
				}
			}).at(49*s, c.tell).ran(c.want...)
		})
	}
}
