package cronwrap_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestFailureOfABackfilledTickIsReportedOnceWithThatTick(t *testing.T) {
	lose := func(result func(context.Context) error) func(*timeline, context.Context) error {
		return func(f *timeline, ctx context.Context) error { free(f); <-ctx.Done(); return result(ctx) }
	}
	for name, c := range map[string]struct {
		second func(*timeline, context.Context) error // the run of 20
		want   error
	}{
		"error":                    {func(*timeline, context.Context) error { return errJob }, errJob},
		"panic":                    {func(*timeline, context.Context) error { panic(errJob) }, errJob},
		"loss, and nil":            {lose(func(context.Context) error { return nil }), guard.ErrLost},
		"loss, and its error":      {lose(context.Context.Err), guard.ErrLost},
		"loss, and its cause":      {lose(context.Cause), guard.ErrLost},
		"loss, and a drop's error": {lose(func(context.Context) error { return guard.ErrBusy }), guard.ErrLost},
		"held too long":            {func(_ *timeline, ctx context.Context) error { <-ctx.Done(); return nil }, guard.ErrMaxHold},
	} {
		t.Run(name, func(t *testing.T) {
			later(t, "@every 10s", cronwrap.CatchUp(10, h), guard.MaxHold(5*s)).job(func(f *timeline, ctx context.Context) error {
				if f.second(cronwrap.Tick(ctx)) == 20 {
					return c.second(f, ctx)
				}
				return nil
			}).at(0, began).at(31*s, start(1)).at(49*s, told(c.want, 20)).ran(10, 20, 30, 40)
		})
	}
}

// An outage of the store is reported once. A lease that is lost after it is reported
// too.
func TestLossAfterAnOutageIsReportedToo(t *testing.T) {
	later(t, "@every 10s", cronwrap.CatchUp(10, h)).job(func(f *timeline, ctx context.Context) error {
		free(f)
		<-ctx.Done()
		return nil
	}).at(0, began).at(11*s, down, start(1)).at(14*s, up, told(guard.ErrUnavailable, -1)).at(19*s, told(guard.ErrLost, 10)).ran(10)
}

// An earlier tick is run before the one that is due, which runs when the key is back.
func TestLossBeforeTheTickThatIsDueIsReportedForTheTickThatRan(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.AtLeastOnce(h)).job(func(f *timeline, ctx context.Context) error {
		if len(f.runs()) == 1 {
			free(f)
			<-ctx.Done()
		}
		return nil
	}).at(8*s, other(0, 1, false)).at(25*s, told(guard.ErrLost, 0)).ran(0, 0, 10, 20)
}

func TestGoexitOfABackfilledTickIsReportedWithThatTick(t *testing.T) {
	later(t, "@every 10s", cronwrap.CatchUp(10, h)).job(func(f *timeline, _ context.Context) error {
		if len(f.runs()) == 1 {
			runtime.Goexit()
		}
		return nil
	}).at(0, began).at(21*s, start(1)).at(31*s, func(f *timeline) {
		if errs := f.reported(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "Goexit") || f.second(errs[0].Tick) != 10 {
			t.Errorf("reported: %v, want Goexit of 10", errs)
		}
	}).ran(10, 20, 30)
}

// The lease is lost before the claim is answered.
func TestUnrunTickOfABackfillIsReportedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		opt  cronwrap.JobOption
		want []int
	}{
		"at most once":  {cronwrap.CatchUp(10, h), []int{20}},
		"at least once": {cronwrap.AtLeastOnce(h), []int{10, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			// The claim takes longer than its attempt, so it is repeated until the loss is
			// noticed.
			f := later(t, "@every 10s", c.opt, guard.TTL(s))
			var once sync.Once
			f.over = func(store *guardtest.Store) lease.Store {
				return &between{Store: store, after: func(ctx context.Context) { once.Do(func() { free(f); <-ctx.Done() }) }}
			}
			f.at(0, began).at(21*s, start(1)).at(29*s, told(guard.ErrLost, 10)).ran(c.want...)
		})
	}
}

// The intervals at which a store that is down is asked grow to a minute, until Shutdown.
func TestCatchingUpLeavesAStoreThatIsDownInPeace(t *testing.T) {
	calls, before := 0, 0
	count := func(f *timeline) { before, calls = calls, f.store.Calls(guardtest.OpLastTick) }
	later(t, "@every 24h", cronwrap.CatchUp(1, h)).at(0, down, start(1)).
		at(5*m, count, told(guard.ErrUnavailable, -1)).at(65*m, count, func(*timeline) {
		if n := calls - before; n > 120*20 || n < 60 { // for 2 s each time
			t.Errorf("%d calls in an hour", n)
		}
	}, stop, func(f *timeline) {
		if d := time.Since(f.begun); d > 65*m {
			t.Errorf("Shutdown took until %v", d)
		}
	}).at(66*m, count).at(2*h, count, func(*timeline) {
		if calls != before {
			t.Errorf("%d calls after Shutdown", calls-before)
		}
	}).ran()
}

// The goroutine runs a tick when the store fails at the next one. It must not end
// before it has looked once more.
func TestTickThatIsLostDuringABackfillIsBackfilledToo(t *testing.T) {
	later(t, "@every 1h", cronwrap.CatchUp(10, 5*h), cronwrap.OverlapWait(), guard.TTL(5*m)).job(func(f *timeline, _ context.Context) error {
		if len(f.runs()) == 1 {
			time.Sleep(80 * m)
		}
		return nil
	}).at(0, began).at(3700*s, start(1)).at(7190*s, down).at(7210*s, up).at(9010*s).ran(3600, 7200)
}

// The goroutine that looks for missed ticks runs longer than the entry exists.
func TestNothingIsBackfilledOnceTheEntryIsRemoved(t *testing.T) {
	calls := 0
	later(t, "@every 1m", cronwrap.CatchUp(10, h)).at(0, began, down).at(25*s, start(1)).
		at(85*s, each(func(r *replica) { r.cron.Remove(r.entry) }), up, tellsAnything).
		at(10*m, func(f *timeline) { calls = f.store.Calls(guardtest.OpLastTick) }).at(h, func(f *timeline) {
		if n := f.store.Calls(guardtest.OpLastTick) - calls; n != 0 {
			t.Errorf("%d calls", n)
		}
	}).ran()
}

func TestJobThatIsAddedAgainBackfillsWhatWasMissed(t *testing.T) {
	f := later(t, "@every 10s", cronwrap.CatchUp(10, h))
	f.at(0, began).at(25*s, start(1)).at(26*s, ran(10, 20), each(func(r *replica) { r.cron.Remove(r.entry) })).at(46*s, each(func(r *replica) {
		if _, err := r.Add(f.spec, "report", f.record(nothing), cronwrap.CatchUp(10, h)); err != nil {
			t.Fatal(err)
		}
	})).at(51*s).ran(10, 20, 30, 40, 50)
}

// As with cron, a run that has begun goes on.
func TestTickThatWaitsWhenItsEntryIsRemovedRuns(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.OverlapWait()).at(0, rival).at(15*s, each(func(r *replica) { r.cron.Remove(r.entry) }), free).at(45 * s).ran(10)
}

// logging sets the default logger for a function, and returns what it has logged.
func logging(do func()) string {
	var logged bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&logged, nil)))
	defer slog.SetDefault(before)
	do()
	return logged.String()
}

// A job that is dropped because other code holds its key must be noticed.
func TestTickThatIsDroppedForOtherCodeIsLoggedAsAWarning(t *testing.T) {
	for name, c := range map[string]struct {
		inTheWay action
		opts     []any
		warnings int
	}{
		"other code":       {rival, nil, 2},
		"an earlier tick":  {func(*timeline) {}, nil, 0},
		"mutual exclusion": {rival, []any{cronwrap.MutualExclusion()}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			text := logging(func() {
				fleet(t, "@every 10s", c.opts...).lasting(15*s).at(0, c.inTheWay).at(25*s, free).live(tellsAnything)
			})
			if n := strings.Count(text, `"WARN"`); n != c.warnings || n > 0 && !strings.Contains(text, "rival") {
				t.Errorf("%d warnings, want %d: %s", n, c.warnings, text)
			}
		})
	}
}

func TestErrorsAndPanicsOfJobsAreLoggedUnlessThereIsAHandler(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errJob },
		"panic": func() error { panic(errJob) },
	} {
		text := logging(func() {
			f := later(t, "@every 10s")
			f.at(0, func(f *timeline) {
				r := newRunner(t, f.store, newCron(), nil, nil)
				if _, err := r.Add(f.spec, "report", func(context.Context) error { return fail() }); err != nil {
					t.Fatal(err)
				}
				r.cron.Start()
				f.replicas = append(f.replicas, r)
			}).at(15 * s).live()
		})
		var line struct{ Level, Job, Error, Tick, Stack string }
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("logged: %q, want one line: %v", text, err)
		}
		if line.Level != "ERROR" || line.Job != "report" || !strings.Contains(line.Error, errJob.Error()) || line.Tick != "2000-01-01T00:00:10Z" ||
			strings.Contains(line.Stack, "reports_test.go") != (name == "panic") {
			t.Errorf("%s: logged: %+v", name, line)
		}
	}
}
