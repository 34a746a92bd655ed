package cronwrap_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestJobGetsItsNameItsTickAndALeasedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l := new(log)
		r := newReplica(t, guardtest.NewStore(), l)
		r.add(t, "@every 10s", "report", func(ctx context.Context) error {
			if name, tick := cronwrap.Name(ctx), cronwrap.Tick(ctx); name != "report" || !tick.Equal(start.Add(10*time.Second)) {
				t.Errorf("name %q, tick %v", name, tick)
			}
			if !guard.Holding(ctx, "report") {
				t.Error("the job's key is not held")
			}
			if _, ok := guard.Fence(ctx); !ok {
				t.Error("no fencing token")
			}
			return nil
		})
		r.cron.Start()
		time.Sleep(11 * time.Second)
		l.mustBe(t, start, 10)
		l.noErrors(t)
		if !cronwrap.Tick(t.Context()).IsZero() || cronwrap.Name(t.Context()) != "" {
			t.Error("a context of no job has a tick or a name")
		}
	})
}

// The job of cron's goroutine can start before Add has returned the entry's id.
func TestJobThatStartsAtOnceKnowsItsTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(log)
		r := newReplica(t, guardtest.NewStore(), l)
		r.cron.Start()
		for i := range 100 {
			r.addSchedule(t, soon{}, strings.Repeat("x", i+1), nil)
		}
		time.Sleep(1500 * time.Millisecond)
		if n := len(l.runs()); n < 100 {
			t.Errorf("%d jobs ran, want 100", n)
		}
		for _, tick := range l.runs() {
			if tick.IsZero() {
				t.Error("a job ran without a tick")
			}
		}
	})
}

// soon comes due before anybody can look away, and then every second.
type soon struct{}

func (soon) Next(t time.Time) time.Time {
	return t.Truncate(time.Second).Add(time.Second)
}

func TestTickIsSkippedWhileTheKeyIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil)
		store.Hold("report", "somebody")
		r.cron.Start()
		time.Sleep(15 * time.Second)
		store.Expire("report")
		time.Sleep(10 * time.Second)
		l.mustBe(t, start, 20) // and nothing at 15
		l.noErrors(t)
	})
}

// Replicas whose clocks agree, or differ by whole ticks, take the key at the same
// time, some of them only to find that they have nothing to do.
func TestKeyThatIsHeldForAMomentCostsNoTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil)
		store.HoldFor("report", "somebody", 10*time.Second+100*time.Millisecond)
		r.cron.Start()
		time.Sleep(11 * time.Second)
		l.mustBe(t, start, 10)
	})
}

func TestWaitOfTheGuardGoesBeforeTryOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l, guard.Wait(3*time.Second))
		r.add(t, "@every 10s", "report", nil)
		store.HoldFor("report", "somebody", 12*time.Second)
		r.cron.Start()
		time.Sleep(15 * time.Second)
		l.mustBe(t, start, 10)
	})
}

func TestOverlapSkipDropsTicksDuringARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		for range 2 {
			r := newReplica(t, store, l)
			r.add(t, "@every 10s", "report", sleeping(25*time.Second))
			r.cron.Start()
		}
		time.Sleep(99 * time.Second)
		l.mustBe(t, start, 10, 40, 70)
		l.noErrors(t)
	})
}

func TestOverlapWaitRunsTheLatestTickThatWaits(t *testing.T) {
	for name, opts := range map[string][]cronwrap.JobOption{
		"at most once":  {cronwrap.Overlap(cronwrap.Wait)},
		"at least once": {cronwrap.Overlap(cronwrap.Wait), cronwrap.Retry()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				r := newReplica(t, store, l)
				r.add(t, "@every 10s", "report", sleeping(24*time.Second), opts...)
				r.cron.Start()
				time.Sleep(89 * time.Second)
				if name == "at most once" {
					l.mustBe(t, start, 10, 30, 50, 80) // 20, 40, 60 and 70 lost their place
				} else {
					l.mustBe(t, start, 10, 20, 30, 50) // the first that waits keeps its place
				}
				if waiting := store.Waiting("report"); waiting > 1 {
					t.Errorf("%d stand in line", waiting)
				}
				l.noErrors(t)
			})
		})
	}
}

func TestOverlapWaitRunsATickOnceOnTwoReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		for range 2 {
			r := newReplica(t, store, l)
			r.add(t, "@every 10s", "report", sleeping(12*time.Second), cronwrap.Overlap(cronwrap.Wait))
			r.cron.Start()
		}
		time.Sleep(45 * time.Second)
		l.mustBe(t, start, 10, 20, 30)
	})
}

func TestLossCancelsTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		var cause error
		r.add(t, "@every 1h", "report", func(ctx context.Context) error {
			time.AfterFunc(time.Minute, func() { store.Expire("report") })
			<-ctx.Done()
			cause = context.Cause(ctx)
			return nil
		})
		r.cron.Start()
		time.Sleep(90 * time.Minute)
		synctest.Wait()
		if !errors.Is(cause, guard.ErrLost) {
			t.Errorf("cause %v, want ErrLost", cause)
		}
		if errs := l.failures(); len(errs) != 1 || !errors.Is(errs[0], guard.ErrLost) || errs[0].Name != "report" {
			t.Errorf("reported: %v, want ErrLost", errs)
		}
	})
}

var errJob = errors.New("no paper")

func TestErrorOfTheJobReachesTheHandlerUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, l := time.Now(), new(log)
		r := newReplica(t, guardtest.NewStore(), l)
		// Also one that looks as if the tick had been skipped.
		r.add(t, "@every 10s", "report", func(context.Context) error { return errors.Join(errJob, guard.ErrBusy) })
		r.cron.Start()
		time.Sleep(11 * time.Second)
		errs := l.failures()
		if len(errs) != 1 || !errors.Is(errs[0], errJob) || !errs[0].Tick.Equal(start.Add(10*time.Second)) {
			t.Errorf("reported: %v", errs)
		}
	})
}

func TestPanicReachesTheHandlerAndFreesTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", func(context.Context) error { panic(errJob) })
		r.cron.Start()
		time.Sleep(21 * time.Second)
		l.mustBe(t, start, 10, 20) // the scheduler goes on
		errs := l.failures()
		var p *cronwrap.PanicError
		if len(errs) != 2 || !errors.As(errs[0], &p) || !errors.Is(errs[0], errJob) || !strings.Contains(string(p.Stack), "job_test.go") {
			t.Errorf("reported: %v", errs)
		}
		if keys := store.Keys(); len(keys) != 0 {
			t.Errorf("held: %v", keys)
		}
	})
}

func TestGoexitOfTheJobReachesTheHandlerAndFreesTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", func(context.Context) error { runtime.Goexit(); return nil })
		r.cron.Start()
		time.Sleep(21 * time.Second)
		if errs := l.failures(); len(errs) != 2 || !strings.Contains(errs[0].Error(), "Goexit") {
			t.Errorf("reported: %v", errs)
		}
		if keys := store.Keys(); len(keys) != 0 {
			t.Errorf("held: %v", keys)
		}
	})
}

func TestPanicOfTheHandlerIsSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := guard.New(guardtest.NewStore())
		if err != nil {
			t.Fatal(err)
		}
		c, runs := cron.New(), 0
		r := cronwrap.New(c, g, cronwrap.OnError(func(*cronwrap.Error) { panic("handler") }))
		if _, err := r.Add("@every 10s", "report", func(context.Context) error { runs++; return errJob }); err != nil {
			t.Fatal(err)
		}
		c.Start()
		time.Sleep(21 * time.Second)
		if err := r.Shutdown(t.Context()); err != nil || runs != 2 {
			t.Errorf("Shutdown() = %v after %d runs, want 2", err, runs)
		}
	})
}

func TestAddRefusesWhatCannotWork(t *testing.T) {
	l := new(log)
	r := newReplica(t, guardtest.NewStore(), l)
	for _, c := range []struct {
		what, spec, name string
		want             error
		opts             []cronwrap.JobOption
	}{
		{what: "bad spec", spec: "every morning", name: "a"},
		{what: "empty spec", spec: "", name: "a"},
		{what: "a zone without fields, at which the parser panics", spec: "TZ=UTC", name: "a"},
		{what: "unknown zone", spec: "TZ=Moon/Sea 0 0 0 * * *", name: "a"},
		{what: "spec that never comes due", spec: "0 0 0 30 2 *", name: "a"},
		{what: "interval below a second", spec: "@every 100ms", name: "a"},
		{what: "interval that cron would round", spec: "@every 1500ms", name: "a"},
		{what: "no name", spec: "@daily", name: "", want: guard.ErrInvalidKey},
		{what: "name that is no key", spec: "@daily", name: "a\nb", want: guard.ErrInvalidKey},
		{what: "duplicate", spec: "@daily", name: "taken", want: cronwrap.ErrDuplicate},
		{what: "All(0)", spec: "@daily", name: "a", opts: []cronwrap.JobOption{cronwrap.CatchUp(cronwrap.All(0), time.Hour)}},
		{what: "CatchUp within no time", spec: "@daily", name: "a", opts: []cronwrap.JobOption{cronwrap.CatchUp(cronwrap.Once, 0)}},
		{what: "Retry without ticks", spec: "@daily", name: "a", opts: []cronwrap.JobOption{cronwrap.Retry(), cronwrap.MutualExclusion()}},
		{what: "CatchUp without ticks", spec: "@daily", name: "a", opts: []cronwrap.JobOption{cronwrap.MutualExclusion(), cronwrap.CatchUp(cronwrap.Once, time.Hour)}},
		{what: "unknown policy", spec: "@daily", name: "a", opts: []cronwrap.JobOption{cronwrap.Overlap(7)}},
	} {
		t.Run(c.what, func(t *testing.T) {
			if c.want != nil && c.name == "taken" {
				if _, err := r.Add("@hourly", "taken", nothing); err != nil {
					t.Fatal(err)
				}
			}
			before := len(r.cron.Entries())
			id, err := r.Add(c.spec, c.name, nothing, c.opts...)
			if err == nil || id != 0 || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("Add() = %v, %v, want an error that is %v", id, err, c.want)
			}
			if n := len(r.cron.Entries()); n != before {
				t.Errorf("%d entries are left behind", n-before)
			}
		})
	}
}

func TestJobWhoseEntryWasRemovedCanBeAddedAgain(t *testing.T) {
	r := newReplica(t, guardtest.NewStore(), new(log))
	for range 3 {
		r.cron.Remove(r.add(t, "@daily", "report", nil))
	}
}

// plain is a store without the capability.
type plain struct{ lease.Store }

func TestOncePerTickNeedsAStoreThatRemembersTicks(t *testing.T) {
	r := newReplica(t, &plain{guardtest.NewStore()}, new(log))
	if _, err := r.Add("@daily", "report", nothing); !errors.Is(err, cronwrap.ErrNoTicks) {
		t.Errorf("Add() = %v, want ErrNoTicks", err)
	}
	if _, err := r.Add("@daily", "report", nothing, cronwrap.MutualExclusion()); err != nil {
		t.Errorf("Add(MutualExclusion) = %v", err)
	}
}

func TestStoreDownAtATickReachesTheHandlerAndTheTickIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil)
		r.cron.Start()
		time.Sleep(15 * time.Second)
		store.Fail(errors.New("down"))
		time.Sleep(10 * time.Second)
		store.Fail(nil)
		time.Sleep(10 * time.Second)
		l.mustBe(t, start, 10, 30)
		if errs := l.failures(); len(errs) != 1 || !errors.Is(errs[0], guard.ErrUnavailable) {
			t.Errorf("reported: %v, want ErrUnavailable", errs)
		}
	})
}

func TestClaimWhoseReplyIsLostRunsTheTickOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil)
		store.Inject(guardtest.Fault{Op: guardtest.OpClaimTick, Lost: true, Times: 2})
		r.cron.Start()
		time.Sleep(25 * time.Second)
		l.mustBe(t, start, 10, 20)
		l.noErrors(t)
	})
}

// One that was told to be at most once, and whose claim may or may not have been
// made when the lease was lost, does not run.
func TestTickWhoseClaimIsNeverAnsweredDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 1h", "report", nil)
		store.Inject(guardtest.Fault{Op: guardtest.OpClaimTick, Lost: true})
		r.cron.Start()
		time.AfterFunc(time.Hour+time.Minute, func() { store.Expire("report") })
		time.Sleep(90 * time.Minute)
		if n := len(l.runs()); n != 0 {
			t.Errorf("%d runs, want none", n)
		}
		if errs := l.failures(); len(errs) != 1 || !errors.Is(errs[0], guard.ErrLost) {
			t.Errorf("reported: %v, want ErrLost", errs)
		}
		store.Fail(nil)
	})
}
