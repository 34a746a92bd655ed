package cronwrap_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestJobGetsItsNameItsTickAndALeasedContext(t *testing.T) {
	fleet(t, "@every 10s").job(func(f *timeline, ctx context.Context) error {
		if name, tick, n := cronwrap.JobName(ctx), cronwrap.Tick(ctx), cronwrap.Attempt(ctx); name != "report" || !tick.Equal(f.time(10)) || n != 1 {
			f.Errorf("name %q, tick %v, attempt %d", name, tick, n)
		}
		if _, ok := guard.Fence(ctx); !ok || !guard.Holding(ctx, "report") {
			f.Error("the job's key is not held")
		}
		return nil
	}).at(11 * s).ran(10)
	if ctx := t.Context(); !cronwrap.Tick(ctx).IsZero() || cronwrap.JobName(ctx) != "" || cronwrap.Attempt(ctx) != 0 {
		t.Error("a context of no job has a tick, a name or an attempt")
	}
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
	l := new(history)
	c := cron.New(cron.WithLocation(time.UTC), cron.WithLogger(slowLogger{}), chain)
	r := newRunner(t, guardtest.NewStore(), c, nil, []cronwrap.Option{cronwrap.OnError(l.failed)})
	t.Cleanup(func() { r.shutdown(t) })
	c.Start()
	const jobs = 200
	for i := range jobs {
		if _, err := r.AddSchedule(&atOnce{}, strings.Repeat("x", i+1), l.record(nothing)); err != nil {
			t.Fatal(err)
		}
		added.Add(1)
	}
	for until := time.Now().Add(10 * s); len(l.runs()) < jobs && time.Now().Before(until); {
		time.Sleep(ms)
	}
	if n := len(l.runs()); n != jobs {
		t.Errorf("%d jobs ran, want %d", n, jobs)
	}
	for _, tick := range l.runs() {
		if tick.IsZero() {
			t.Error("a job ran without a tick")
		}
	}
	if errs := l.reported(); len(errs) > 0 || early.Load() == 0 {
		t.Errorf("%d jobs started before AddSchedule had returned: with 0 this test shows nothing; reported: %v", early.Load(), errs)
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
		time.Sleep(ms)
	}
}

func (slowLogger) Error(error, string, ...any) {}

func TestObserversSeeTheJobsNameUnlessTheGuardHasOne(t *testing.T) {
	for want, opts := range map[string][]any{"report": nil, "mine": {guard.Name("mine")}} {
		seen := &acquires{}
		fleet(t, "@every 10s", append(opts, guard.Observe(seen))...).at(0, each(func(r *replica) {
			if _, err := r.Add("@every 10s", "report/wait", nothing, cronwrap.OverlapWait()); err != nil {
				t.Fatal(err)
			}
			cronwrap.Wrap(r.guard, "report/wrap")(cron.FuncJob(func() {})).Run()
		})).at(15 * s).ran(10)
		for _, name := range []string{"report", "report/wait", "report/wrap"} {
			if opts != nil {
				name = want
			}
			if seen.of[name] == 0 {
				t.Errorf("observers were told %v, want %q among them", seen.of, name)
			}
		}
	}
}

// acquires counts the acquires that observers are told, by name.
type acquires struct {
	guard.ObserverDefaults
	mu sync.Mutex
	of map[string]int
}

func (n *acquires) AcquireStart(ctx context.Context, a guard.AcquireStart) context.Context {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = make(map[string]int)
	}
	n.of[a.Name]++
	return ctx
}

func TestOutcomesOfARunReachTheHandlerAndFreeTheKey(t *testing.T) {
	for name, c := range map[string]struct {
		body func(*timeline, context.Context) error
		want error
	}{
		"error":                        {func(*timeline, context.Context) error { return errJob }, errJob},
		"error that looks like a drop": {func(*timeline, context.Context) error { return errors.Join(errJob, guard.ErrBusy) }, errJob},
		"error of a nested store":      {func(*timeline, context.Context) error { return errors.Join(errJob, guard.ErrUnavailable) }, errJob},
		"panic":                        {func(*timeline, context.Context) error { panic(errJob) }, errJob},
		"loss": {func(f *timeline, ctx context.Context) error {
			free(f)
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), guard.ErrLost) {
				f.Errorf("cause %v, want ErrLost", context.Cause(ctx))
			}
			return nil
		}, guard.ErrLost},
		"loss found after the run": {func(f *timeline, _ context.Context) error { free(f); return nil }, guard.ErrLost},
		"held too long":            {func(_ *timeline, ctx context.Context) error { <-ctx.Done(); return nil }, guard.ErrMaxHold},
	} {
		t.Run(name, func(t *testing.T) {
			fleet(t, "@every 10s", guard.MaxHold(7*s)).job(c.body).at(29*s, told(c.want, 10, 20), nothingHeld).ran(10, 20)
		})
	}
}

func TestPanicIsAPanicErrorWithTheStackOfTheJob(t *testing.T) {
	fleet(t, "@every 10s").job(func(*timeline, context.Context) error { panic(errJob) }).at(11*s, func(f *timeline) {
		var p *cronwrap.PanicError
		if errs := f.reported(); len(errs) != 1 || !errors.As(errs[0], &p) || !strings.Contains(string(p.Stack), "once_test.go") || errs[0].Name != "report" {
			t.Errorf("reported: %v", errs)
		}
	}).ran(10)
}

func TestGoexitOfTheJobReachesTheHandlerAndFreesTheKey(t *testing.T) {
	goexit := func(f *timeline) {
		if errs := f.reported(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "Goexit") {
			f.Errorf("reported: %v", errs)
		}
	}
	fleet(t, "@every 10s").job(func(*timeline, context.Context) error { runtime.Goexit(); return nil }).
		at(11*s, goexit).at(21*s, goexit, nothingHeld).ran(10, 20)
}

func TestPanicOfTheHandlerIsSurvived(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.OnError(func(*cronwrap.Error) { panic("handler") })).
		job(func(*timeline, context.Context) error { return errJob }).at(21*s).ran(10, 20)
}

func TestJobCalledByHandRunsNoTickTwice(t *testing.T) {
	byHand := each(func(r *replica) { r.cron.Entry(r.entry).Job.Run() })
	fleet(t, "@every 10s").at(s, byHand, func(f *timeline) {
		if errs := f.reported(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "by hand") {
			t.Errorf("reported: %v", errs)
		}
	}).at(15*s, byHand).at(16 * s).ran(10)
}

func TestClaimWhoseReplyIsLostRunsTheTickOnce(t *testing.T) {
	fleet(t, "@every 10s").at(0, fault(guardtest.Fault{Op: guardtest.OpClaimTick, Lost: true, Times: 2})).at(25*s).ran(10, 20)
}

// A run that is to be at most once, and whose claim may or may not have been granted
// when the lease was lost, does not run.
func TestTickWhoseClaimIsNeverAnsweredDoesNotRun(t *testing.T) {
	fleet(t, "@every 1h").at(0, fault(guardtest.Fault{Op: guardtest.OpClaimTick, Lost: true})).at(h+m, free).
		at(90*m, told(guard.ErrLost, 3600), up).ran()
}

func TestStoreDownAtATickReachesTheHandlerAndTheTickIsLost(t *testing.T) {
	fleet(t, "@every 10s").at(15*s, down).at(25*s, up).at(35*s, told(guard.ErrUnavailable, 20)).ran(10, 30)
}

// The request gets no reply, as from a server that cannot be reached.
func TestStoreThatDoesNotAnswerHoldsUpATickFor2Seconds(t *testing.T) {
	fleet(t, "@every 10s").at(0, fault(guardtest.Fault{Op: guardtest.OpLastTick, Times: 1})).
		at(12*s+ms, told(guard.ErrUnavailable, 10)).at(22 * s).ran(20)
}

func TestHiccupOfTheStoreCostsNoTick(t *testing.T) {
	for name, opts := range map[string][]any{
		"drop":          nil,
		"wait":          {cronwrap.OverlapWait()},
		"at least once": {cronwrap.AtLeastOnce(h)},
		"catch up":      {cronwrap.CatchUp(1, h)},
		"mutex":         {cronwrap.MutualExclusion()},
	} {
		for _, op := range []guardtest.Op{guardtest.OpLastTick, guardtest.OpAcquire, guardtest.OpClaimTick} {
			t.Run(name+", "+string(op), func(t *testing.T) {
				fleet(t, "@every 10s", opts...).at(5*s, fault(guardtest.Fault{Op: op, Err: errDown, Times: 3})).at(15 * s).ran(10)
			})
		}
	}
}

func TestRefusalOfTheStoreIsFinal(t *testing.T) {
	for _, op := range []guardtest.Op{guardtest.OpLastTick, guardtest.OpClaimTick} {
		refusal := fmt.Errorf("no permission: %w", lease.ErrRefused)
		fleet(t, "@every 10s").at(0, fault(guardtest.Fault{Op: op, Err: refusal})).at(10*s+ms, told(lease.ErrRefused, 10), func(f *timeline) {
			if n := f.store.Calls(op); n != 1 {
				t.Errorf("%d calls of %s, want 1", n, op)
			}
		}).ran()
	}
}

// between is a store that calls functions before a claim, and between it and its reply.
type between struct {
	*guardtest.Store
	once   sync.Once
	before func()
	after  func(context.Context)
}

func (b *between) ClaimTick(ctx context.Context, r lease.TickRequest) (lease.TickReply, error) {
	if b.before != nil {
		b.once.Do(b.before)
	}
	reply, err := b.Store.ClaimTick(ctx, r)
	if b.after != nil {
		b.once.Do(func() { b.after(ctx) })
	}
	return reply, err
}

func TestTickThatWasClaimedAndNotRunIsReported(t *testing.T) {
	for name, opts := range map[string][]any{"at most once": nil, "at least once": {cronwrap.AtLeastOnce(h)}} {
		t.Run(name, func(t *testing.T) {
			f := fleet(t, "@every 10s", opts...)
			f.over = func(store *guardtest.Store) lease.Store {
				return &between{Store: store, after: func(ctx context.Context) {
					if len(f.replicas) == 1 && time.Since(f.begun) < 12*s {
						go kill(f)
						<-ctx.Done()
					}
				}}
			}
			f.at(15*s, ran())
			if opts == nil {
				f.at(16*s, told(guard.ErrClosed, 10), start(1)).at(18 * s).ran()
				return
			}
			f.at(16*s, start(1)).at(17 * s).ran(10)
		})
	}
}

// A runner whose tick the next holder has passed gets that as its error, and not that
// the tick is done: it is not.
func TestTickThatIsRefusedAfterALossIsReported(t *testing.T) {
	f := fleet(t, "@every 10s")
	f.over = func(store *guardtest.Store) lease.Store {
		return &between{Store: store, before: func() {
			other(0, time.Now().Add(s).UnixMicro(), true)(f) // under a later token
		}}
	}
	f.at(25*s, told(guard.ErrLost, 10)).ran(20)
}

// A replica that comes late has a tick pending that others have passed over.
func TestTickThatWasPassedOverIsReported(t *testing.T) {
	later(t, "@every 10s", cronwrap.OverlapWait()).at(0, skewed(-5*s)).at(10*s, rival).at(21*s, func(f *timeline) {
		r := lease.TickRequest{Key: "report", Owner: f.store.NewOwner(""), At: f.time(20), Gap: true}
		if reply, err := f.store.ClaimTick(f.Context(), r); err != nil || !reply.Claimed {
			t.Fatalf("ClaimTick() = %+v, %v", reply, err)
		}
	}, free).at(29*s, told(cronwrap.ErrMissed, 10)).ran(0)
}

func TestGuardThatIsShutDownBeforeTheRunnerIsReported(t *testing.T) {
	fleet(t, "@every 10s").at(s, each(func(r *replica) {
		if err := r.guard.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})).at(15*s, told(guard.ErrClosed, 10)).ran()
}

func TestStoreMustRememberTicksUnlessThereIsMutualExclusion(t *testing.T) {
	r := newRunner(t, &struct{ lease.Store }{guardtest.NewStore()}, cron.New(), nil, nil)
	if _, err := r.Add("@daily", "report", nothing); !errors.Is(err, cronwrap.ErrNoTicks) {
		t.Errorf("Add() = %v, want ErrNoTicks", err)
	}
	if _, err := r.Add("@daily", "report", nothing, cronwrap.MutualExclusion()); err != nil {
		t.Errorf("Add(MutualExclusion) = %v", err)
	}
}
