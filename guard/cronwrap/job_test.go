package cronwrap_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/internal/redistest"
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

// The job can start before cron has returned the entry's id. One thread, and a cron
// that is busy whenever a job is added, make that likely.
func TestJobThatStartsAtOnceKnowsItsTick(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var began, added, early atomic.Int64
	chain := cron.WithChain(func(job cron.Job) cron.Job {
		return cron.FuncJob(func() {
			if began.Add(1) > added.Load() {
				early.Add(1)
			}
			job.Run()
		})
	})
	l := new(log)
	c := cron.New(cron.WithLocation(time.UTC), cron.WithLogger(slowLogger{}), chain)
	r := replica{cronwrap.New(c, mustGuard(t), cronwrap.OnError(l.failed)), c, mustGuard(t), l}
	t.Cleanup(func() { r.shutdown(t) })
	c.Start()
	const jobs = 200
	for i := range jobs {
		r.addSchedule(t, &atOnce{}, strings.Repeat("x", i+1), nil)
		added.Add(1)
	}
	for until := time.Now().Add(10 * time.Second); len(l.runs()) < jobs && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
	if n := len(l.runs()); n != jobs {
		t.Errorf("%d jobs ran, want %d", n, jobs)
	}
	for _, tick := range l.runs() {
		if tick.IsZero() {
			t.Error("a job ran without a tick")
		}
	}
	l.noErrors(t)
	if early.Load() == 0 {
		t.Error("no job started before AddSchedule had returned: this test shows nothing")
	}
}

// atOnce comes due when cron first asks, and then in 2200.
type atOnce struct{ asked bool }

func (a *atOnce) Next(t time.Time) time.Time {
	if !a.asked && strings.Contains(string(debug.Stack()), "(*Cron).run(") {
		a.asked = true
		return t
	}
	return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
}

// slowLogger keeps cron busy after it has started a job.
type slowLogger struct{}

func (slowLogger) Info(what string, _ ...any) {
	if what == "run" {
		time.Sleep(time.Millisecond)
	}
}

func (slowLogger) Error(error, string, ...any) {}

func TestTickIsSkippedWhileTheKeyIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil)
		store.Hold("report", "rival")
		r.cron.Start()
		time.Sleep(15 * time.Second)
		store.Expire("report")
		time.Sleep(10 * time.Second)
		l.mustBe(t, start, 20) // and nothing at 15
		l.noErrors(t)
	})
}

func TestTickIsDroppedAtOnceUnderMutualExclusion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil, cronwrap.MutualExclusion())
		store.HoldFor("report", "rival", 10*time.Second+100*time.Millisecond)
		r.cron.Start()
		time.Sleep(15 * time.Second)
		if n := len(l.runs()); n != 0 || store.Calls(guardtest.OpAcquire) != 1 {
			t.Errorf("%d runs after %d attempts, want none after one", n, store.Calls(guardtest.OpAcquire))
		}
		l.noErrors(t)
	})
}

// Replicas whose clocks agree, or differ by whole ticks, take the key at the same
// time, some of them only to find that their tick is done.
func TestKeyThatIsHeldBrieflyCostsNoTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil)
		store.HoldFor("report", "rival", 10*time.Second+100*time.Millisecond)
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
		store.HoldFor("report", "rival", 12*time.Second)
		r.cron.Start()
		time.Sleep(15 * time.Second)
		l.mustBe(t, start, 10)
		store.HoldFor("report", "rival", 9*time.Second) // until 24
		time.Sleep(20 * time.Second)
		l.mustBe(t, start, 10, 30) // 20 gave up at 23
	})
}

func TestOverlapSkipWaitsForNoRunWhateverTheGuardsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l, guard.Wait(time.Minute))
		r.add(t, "@every 10s", "report", sleeping(25*time.Second))
		r.cron.Start()
		time.Sleep(99 * time.Second)
		l.mustBe(t, start, 10, 40, 70)
		l.noErrors(t)
	})
}

func TestObserversSeeTheJobsNameUnlessTheGuardHasOne(t *testing.T) {
	for want, opts := range map[string][]guard.Option{"report": nil, "mine": {guard.Name("mine")}} {
		synctest.Test(t, func(t *testing.T) {
			seen := &names{Observer: guard.LogObserver(slog.New(slog.DiscardHandler)), asked: make(map[string]bool)}
			store, l := guardtest.NewStore(), new(log)
			r := newReplica(t, store, l, append(opts, guard.Observe(seen))...)
			r.add(t, "@every 10s", "report", nil)
			r.add(t, "@every 10s", "report/wait", nil, cronwrap.Overlap(cronwrap.Wait))
			cronwrap.Wrap(r.guard, "report/wrap")(cron.FuncJob(func() {})).Run()
			r.cron.Start()
			time.Sleep(15 * time.Second)
			seen.mu.Lock()
			defer seen.mu.Unlock()
			for _, name := range []string{"report", "report/wait", "report/wrap"} {
				if opts != nil {
					name = want
				}
				if !seen.asked[name] {
					t.Errorf("observers were lossReported %v, want %q among them", seen.asked, name)
				}
			}
		})
	}
}

// names records the names under which keys are asked for.
type names struct {
	guard.Observer
	mu    sync.Mutex
	asked map[string]bool
}

func (n *names) AcquireStart(ctx context.Context, a guard.AcquireStart) context.Context {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked[a.Name] = true
	return n.Observer.AcquireStart(ctx, a)
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
					l.mustBe(t, start, 10, 30, 50, 80) // 20, 40, 60 and 70 were replaced
				} else {
					l.mustBe(t, start, 10, 20, 30, 50) // the first that waits keeps its place
				}
				if waiting := store.Waiting("report"); waiting > 1 {
					t.Errorf("%d wait", waiting)
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

// plain is a store that is no TickStore.
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

// A run that is to be at most once, and whose claim may or may not have been granted
// when the lease was lost, does not run.
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

func TestHiccupOfTheStoreCostsNoTick(t *testing.T) {
	for name, opts := range map[string][]cronwrap.JobOption{
		"skip":     nil,
		"wait":     {cronwrap.Overlap(cronwrap.Wait)},
		"retry":    {cronwrap.Retry()},
		"catch up": {cronwrap.CatchUp(cronwrap.Once, time.Hour)},
		"mutex":    {cronwrap.MutualExclusion()},
	} {
		for _, op := range []guardtest.Op{guardtest.OpLastTick, guardtest.OpAcquire, guardtest.OpClaimTick} {
			t.Run(name+", "+string(op), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					store, l := guardtest.NewStore(), new(log)
					r := newReplica(t, store, l)
					r.add(t, "@every 10s", "report", nil, opts...)
					r.cron.Start()
					time.Sleep(5 * time.Second)
					store.Inject(guardtest.Fault{Op: op, Err: errors.New("connection reset"), Times: 3})
					time.Sleep(10 * time.Second)
					if n := len(l.runs()); n != 1 {
						t.Errorf("%d runs, want 1", n)
					}
					if name != "mutex" { // which has no tick
						l.mustBe(t, start, 10)
					}
					l.noErrors(t)
				})
			})
		}
	}
}

// For 400 ms around each tick the server is a replica: it answers reads, and refuses
// to write.
func TestFailoverAtATickCostsNoTickOnRedis(t *testing.T) {
	t.Parallel()
	server, l := redistest.Start(t), new(log)
	admin := server.Client(t)
	const step = 3 * time.Second
	for range 3 {
		r := newReplica(t, onRedis(t, server.Addr()), l)
		r.addSchedule(t, steps(step), "report", work)
		r.cron.Start()
	}
	want := make(map[time.Time]int)
	for range 3 {
		next := steps(step).Next(time.Now().Add(step / 2))
		time.Sleep(time.Until(next) - 200*time.Millisecond)
		began := time.Now()
		if err := admin.Do(t.Context(), "replicaof", "127.0.0.1", "1").Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(400 * time.Millisecond)
		if err := admin.Do(t.Context(), "replicaof", "no", "one").Err(); err != nil {
			t.Fatal(err)
		}
		if began.Before(next) && time.Since(next) < time.Second { // else this machine was stopped
			want[next.UTC()] = 1
		}
	}
	time.Sleep(step / 2)
	ran := make(map[time.Time]int)
	for _, tick := range l.runs() {
		if ran[tick.UTC()]++; ran[tick.UTC()] > 1 {
			t.Errorf("tick %v ran %d times", tick, ran[tick.UTC()])
		}
	}
	for tick := range want {
		if ran[tick] == 0 {
			t.Errorf("tick %v did not run", tick)
		}
	}
	if t.Failed() {
		l.noErrors(t)
	}
}

func TestRefusalOfTheStoreIsFinal(t *testing.T) {
	for _, op := range []guardtest.Op{guardtest.OpLastTick, guardtest.OpClaimTick} {
		t.Run(string(op), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, l := guardtest.NewStore(), new(log)
				r := newReplica(t, store, l)
				r.add(t, "@every 10s", "report", nil)
				store.Inject(guardtest.Fault{Op: op, Err: fmt.Errorf("no permission: %w", lease.ErrRefused)})
				r.cron.Start()
				time.Sleep(10*time.Second + time.Millisecond)
				if errs := l.failures(); len(errs) != 1 || !errors.Is(errs[0], guard.ErrUnavailable) || !errors.Is(errs[0], lease.ErrRefused) {
					t.Errorf("reported: %v, want ErrUnavailable at once", errs)
				}
				if n := store.Calls(op); n != 1 {
					t.Errorf("%d calls, want 1", n)
				}
			})
		})
	}
}

// claimStore is a store that calls a function between a claim and its reply.
type claimStore struct {
	*guardtest.Store
	then func(ctx context.Context)
}

func (c *claimStore) ClaimTick(ctx context.Context, r lease.TickRequest) (lease.TickReply, error) {
	reply, err := c.Store.ClaimTick(ctx, r)
	c.then(ctx)
	return reply, err
}

func TestTickThatWasClaimedAndNotRunIsReported(t *testing.T) {
	for name, opts := range map[string][]cronwrap.JobOption{"at most once": nil, "at least once": {cronwrap.Retry()}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, l := time.Now(), new(log)
				store := &claimStore{Store: guardtest.NewStore()}
				r := newReplica(t, store, l)
				gone, cancel := context.WithCancel(t.Context())
				cancel()
				store.then = func(ctx context.Context) {
					go func() { _ = r.Shutdown(gone) }() // says that it had to cancel
					<-ctx.Done()
				}
				r.add(t, "@every 10s", "report", nil, opts...)
				r.cron.Start()
				time.Sleep(15 * time.Second)
				l.mustBe(t, start)
				if opts == nil {
					if errs := l.failures(); len(errs) != 1 || !errors.Is(errs[0], guard.ErrClosed) || !errs[0].Tick.Equal(start.Add(10*time.Second)) {
						t.Errorf("reported: %v, want ErrClosed for the tick", errs)
					}
					return
				}
				l.noErrors(t)
				next := newReplica(t, store.Store, l)
				next.add(t, "@every 10s", "report", nil, opts...)
				next.cron.Start()
				time.Sleep(time.Second)
				l.mustBe(t, start, 10)
			})
		})
	}
}

func TestJobCalledByHandBeforeItsFirstTickDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, l := time.Now(), new(log)
		r := newReplica(t, guardtest.NewStore(), l)
		id := r.add(t, "@every 10s", "report", nil)
		r.cron.Entry(id).Job.Run()
		if errs := l.failures(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "by hand") {
			t.Errorf("reported: %v", errs)
		}
		r.cron.Start()
		time.Sleep(15 * time.Second)
		r.cron.Entry(id).Job.Run() // 10 has run
		l.mustBe(t, start, 10)
	})
}
