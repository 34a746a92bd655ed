package cronwrap_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// Fleets of three replicas live for minutes under faults; the seed determines which, and
// when. JOBGUARD_FLEETS is how many fleets each test has; default 100.
func fleets(t *testing.T, live func(t *testing.T, seed uint64)) {
	n := 100
	if text := os.Getenv("JOBGUARD_FLEETS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	for seed := range uint64(n) {
		if synctest.Test(t, func(t *testing.T) { live(t, seed) }); t.Failed() {
			return
		}
	}
}

// The store stalls for 0.2 to 10 s, again and again, and a tick comes due each second.
// With CatchUp each tick runs exactly once; without, each runs or is reported.
func TestFleetWithAStallingStoreLosesNoTickUnheard(t *testing.T) {
	t.Parallel()
	fleets(t, func(t *testing.T, seed uint64) {
		f := newSim(t, seed, time.Second, []time.Duration{ms, 300 * ms, 900 * ms, 3 * s})
		f.joinAll()
		for range 6 {
			time.Sleep(f.upTo(12 * s))
			f.stall(200*ms + f.upTo(9800*ms))
		}
		f.end(40 * s)
		f.exactly(2*s, time.Since(f.start)-15*s)
	})
}

// Leases that the store drops, replicas that shut down and come back, calls that fail
// and replies that are lost, stalls.
func TestFleetUnderFaultsRunsTicksAtMostOnceOrAtLeastOnce(t *testing.T) {
	t.Parallel()
	fleets(t, func(t *testing.T, seed uint64) {
		f := newSim(t, seed, 10*s, []time.Duration{ms, 3 * s, 10 * s, 25 * s})
		f.joinAll()
		for range 25 {
			if f.chance.IntN(3) == 0 { // exactly at a tick
				time.Sleep(time.Until(time.Now().Truncate(f.step).Add(f.step)))
			} else {
				time.Sleep(f.upTo(2 * f.step))
			}
			switch f.chance.IntN(5) {
			case 0:
				f.note("the lease is dropped")
				f.store.Expire("report")
			case 1:
				f.restart(&f.replicas[f.chance.IntN(len(f.replicas))])
			case 2:
				f.failCall()
			case 3:
				f.stall(f.upTo(10 * s))
			}
		}
		f.end(5 * m)
		if f.longest < f.step {
			f.exactly(time.Since(f.start)-3*m, time.Since(f.start)-f.step)
		}
	})
}

// sim is three replicas of one job, with a record of its ticks.
type sim struct {
	*testing.T

	step    time.Duration
	what    []string // the case
	again   bool
	wait    bool
	catchUp bool
	longest time.Duration // longest run
	opts    []cronwrap.JobOption
	start   time.Time
	store   *guardtest.Store
	chance  *rand.Rand // used by the fleet's goroutine alone

	replicas [3]*replica

	mu    sync.Mutex
	runs  *rand.Rand // their lengths
	begun []*simRun
	told  map[time.Duration]bool
	unrun map[time.Duration]bool // the reply to their claim was lost, and then the lease
	story []string
}

type simRun struct {
	tick         time.Duration // since the start
	token        int64
	began, ended time.Duration
	done         bool
}

func newSim(t *testing.T, seed uint64, step time.Duration, longest []time.Duration) *sim {
	chance := rand.New(rand.NewPCG(seed, 0))
	f := &sim{
		T: t, step: step, start: time.Now(), store: guardtest.NewStore(), chance: chance,
		runs: rand.New(rand.NewPCG(seed, 1)), longest: longest[chance.IntN(4)], told: make(map[time.Duration]bool), unrun: make(map[time.Duration]bool),
	}
	f.what = []string{fmt.Sprintf("seed %d: runs of up to %v", seed, f.longest)}
	switch chance.IntN(3) {
	case 0:
		f.again, f.catchUp = true, true
		f.option("AtLeastOnce", cronwrap.AtLeastOnce(h), cronwrap.MaxAttempts(1000))
	case 1:
		f.catchUp = true
		f.option("CatchUp", cronwrap.CatchUp(1000, h))
	}
	if f.wait = chance.IntN(2) == 0; f.wait {
		f.option("OverlapWait", cronwrap.OverlapWait())
	}
	if f.catchUp { // what comes due must be worked off
		f.longest = min(f.longest, step*2/3)
	}
	if chance.IntN(2) == 0 {
		f.store.Delay(f.upTo(8 * ms))
	}
	return f
}

func (f *sim) option(name string, opts ...cronwrap.JobOption) {
	f.what, f.opts = append(f.what, name), append(f.opts, opts...)
}

func (f *sim) upTo(d time.Duration) time.Duration { return time.Duration(f.chance.Int64N(int64(d))) }

func (f *sim) joinAll() {
	for i := range f.replicas {
		f.replicas[i] = f.join()
	}
}

// join starts a replica whose clock may be wrong.
func (f *sim) join() *replica {
	c := cron.New(cron.WithLocation(time.UTC))
	r := newRunner(f, f.store, c, nil, []cronwrap.Option{cronwrap.OnError(f.failed)})
	if f.chance.IntN(3) > 0 {
		r.SetClock(f.upTo(1300*ms) - 400*ms)
	}
	if _, err := r.AddSchedule(steps(f.step), "report", f.run, f.opts...); err != nil {
		f.Fatal(err)
	}
	c.Start()
	return r
}

func (f *sim) restart(r **replica) {
	ctx, cancel := context.WithTimeout(context.Background(), f.upTo(5*s))
	defer cancel()
	f.note("a replica shuts down")
	_ = (*r).Shutdown(ctx) // an error if it had to cancel
	_ = (*r).guard.Shutdown(context.Background())
	if f.chance.IntN(2) == 0 {
		time.Sleep(f.upTo(30 * s))
	}
	f.note("a replica joins")
	*r = f.join()
}

func (f *sim) failCall() {
	calls := []guardtest.Op{
		guardtest.OpClaimTick, guardtest.OpEndTick, guardtest.OpLastTick,
		guardtest.OpAcquire, guardtest.OpRelease, guardtest.OpRenew,
	}
	x := guardtest.Fault{Op: calls[f.chance.IntN(len(calls))], Lost: f.chance.IntN(2) == 0, Times: 1 + f.chance.IntN(2)}
	if !x.Lost || f.chance.IntN(2) == 0 {
		x.Err = errDown
	}
	f.note(fmt.Sprintf("fault %+v", x))
	f.store.Inject(x)
}

// stall makes all calls fail for d: at once, or without a reply, some with an effect.
func (f *sim) stall(d time.Duration) {
	x := guardtest.Fault{Lost: f.chance.IntN(3) == 0}
	if f.chance.IntN(2) == 0 {
		x.Err = errDown
	}
	f.note(fmt.Sprintf("stall of %v, %+v", d, x))
	f.store.Inject(x)
	time.Sleep(d)
	f.store.Fail(nil)
	f.note("stall over")
}

func (f *sim) run(ctx context.Context) error {
	r := &simRun{tick: cronwrap.Tick(ctx).Sub(f.start), began: time.Since(f.start), ended: 1 << 62}
	r.token, _ = guard.Fence(ctx)
	f.note(fmt.Sprint("begins ", r.tick))
	f.mu.Lock()
	f.begun = append(f.begun, r)
	length := time.Duration(f.runs.Int64N(int64(f.longest)))
	f.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
	err := ctx.Err()
	f.note(fmt.Sprint("ends ", r.tick, " ", context.Cause(ctx)))
	f.mu.Lock()
	defer f.mu.Unlock()
	r.ended, r.done = time.Since(f.start), err == nil
	return err
}

func (f *sim) failed(e *cronwrap.Error) {
	f.note(e)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told[e.Tick.Sub(f.start)] = true
	if errors.Is(e, cronwrap.ErrUnrun) {
		f.unrun[e.Tick.Sub(f.start)] = true
	}
}

func (f *sim) note(what any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.story = append(f.story, fmt.Sprint(time.Since(f.start), "\t", what))
}

// end lets the fleet live on without faults, shuts it down, and judges what ran.
func (f *sim) end(quiet time.Duration) {
	f.store.Fail(nil)
	time.Sleep(quiet)
	for _, r := range f.replicas {
		r.shutdown(f)
	}
	ran, before := make(map[time.Duration]bool), new(simRun)
	for _, b := range f.begun {
		switch {
		case b.tick < before.tick:
			f.wrong("tick %v was begun after that of %v", b.tick, before.tick)
		case b.tick > before.tick && b.token < before.token:
			f.wrong("tick %v was begun under a lease that was lost before that of %v was begun", b.tick, before.tick)
		case ran[b.tick] && !f.again:
			f.wrong("tick %v ran twice", b.tick)
		case f.again && !slices.ContainsFunc(f.begun, func(o *simRun) bool { return o.tick == b.tick && o.done }):
			f.wrong("tick %v was begun and never done", b.tick)
		}
		before, ran[b.tick] = b, true
	}
}

// exactly wants each tick between from and until to have run, or to have come due during
// a run, or, without CatchUp, to have been reported.
func (f *sim) exactly(from, until time.Duration) {
	const skew = 1300 * ms
	for tick := from.Truncate(f.step); tick < until; tick += f.step {
		if !f.catchUp && f.told[tick] || !f.again && f.unrun[tick] || slices.ContainsFunc(f.begun, func(r *simRun) bool {
			return r.tick == tick || (!f.wait || !f.catchUp) && r.began-skew <= tick && tick <= r.ended+skew
		}) {
			continue
		}
		f.wrong("tick %v neither ran nor was reported", tick)
	}
}

func (f *sim) wrong(format string, args ...any) {
	f.Fatalf("%s\n%s\n%s", fmt.Sprintf(format, args...), strings.Join(f.what, ", "), strings.Join(f.story, "\n"))
}

// steps is a schedule that comes due at all multiples of an interval.
type steps time.Duration

func (s steps) Next(t time.Time) time.Time {
	return t.Add(time.Duration(s) - time.Duration(t.UnixNano()%int64(s)))
}

func (s steps) String() string { return time.Duration(s).String() }
