package cronwrap_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// A fleet of three runs for ten minutes under faults: leases that the store drops,
// replicas that shut down and come back, calls that fail and replies that are lost,
// clocks that differ, runs shorter and longer than the time between ticks. The seed
// determines which faults occur, and when.
func TestFleetUnderFaultsRunsTicksAtMostOnceWithRetryAtLeastOnce(t *testing.T) {
	const seeds = 50
	for seed := range uint64(seeds) {
		for _, retry := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) { newFleet(t, seed, retry).live() })
		}
	}
}

const fleetStep = 10 * time.Second

// fleet is three replicas of one job, with a record of its ticks.
type fleet struct {
	*testing.T

	what    string // name of the case
	retry   bool
	longest time.Duration // longest run
	opts    []cronwrap.JobOption
	start   time.Time
	store   *guardtest.Store
	chance  *rand.Rand // used by the fleet's goroutine alone

	replicas [3]replica

	mu    sync.Mutex
	runs  *rand.Rand // their lengths
	begun []begun
	done  map[time.Duration]bool
	story []string
}

type begun struct {
	tick  time.Duration // since the start
	token int64
}

func newFleet(t *testing.T, seed uint64, retry bool) *fleet {
	chance := rand.New(rand.NewPCG(seed, 0))
	f := &fleet{
		T: t, retry: retry, start: time.Now(), store: guardtest.NewStore(),
		chance: chance, runs: rand.New(rand.NewPCG(seed, 1)), done: make(map[time.Duration]bool),
	}
	f.longest = []time.Duration{time.Millisecond, 3 * time.Second, fleetStep, 25 * time.Second}[chance.IntN(4)]
	f.what = fmt.Sprintf("seed %d: runs of up to %v", seed, f.longest)
	if retry {
		f.option("Retry", cronwrap.Retry())
	}
	if chance.IntN(2) == 0 {
		f.option("Wait", cronwrap.Overlap(cronwrap.Wait))
	}
	if chance.IntN(2) == 0 {
		f.option("CatchUp", cronwrap.CatchUp(cronwrap.All(1+chance.IntN(5)), time.Hour))
	}
	if chance.IntN(2) == 0 {
		f.store.Delay(f.upTo(8 * time.Millisecond))
	}
	return f
}

func (f *fleet) option(name string, o cronwrap.JobOption) {
	f.what, f.opts = f.what+", "+name, append(f.opts, o)
}

func (f *fleet) upTo(d time.Duration) time.Duration {
	return time.Duration(f.chance.Int64N(int64(d)))
}

func (f *fleet) live() {
	for i := range f.replicas {
		f.replicas[i] = f.joins()
	}
	for range 25 {
		if f.chance.IntN(3) == 0 { // exactly at a tick
			time.Sleep(time.Until(time.Now().Truncate(fleetStep).Add(fleetStep)))
		} else {
			time.Sleep(f.upTo(2 * fleetStep))
		}
		switch f.chance.IntN(4) {
		case 0:
			f.note("the lease is dropped")
			f.store.Expire("report")
		case 1:
			f.restart(&f.replicas[f.chance.IntN(len(f.replicas))])
		case 2:
			f.failCall()
		}
	}
	f.store.Fail(nil)
	time.Sleep(5 * time.Minute)
	for _, r := range f.replicas {
		r.shutdown(f)
	}
	f.judge()
}

// joins starts a replica whose clock may be wrong.
func (f *fleet) joins() replica {
	g, err := guard.New(f.store)
	if err != nil {
		f.Fatal(err)
	}
	c := cron.New(cron.WithLocation(time.UTC))
	r := replica{Runner: cronwrap.New(c, g, cronwrap.OnError(func(e *cronwrap.Error) { f.note(e) })), cron: c, guard: g}
	var skew time.Duration
	if f.chance.IntN(3) > 0 {
		skew = f.upTo(1300*time.Millisecond) - 400*time.Millisecond
	}
	if _, err := r.AddSchedule(skewed{steps(fleetStep), skew}, "report", f.run, f.opts...); err != nil {
		f.Fatal(err)
	}
	c.Start()
	return r
}

func (f *fleet) restart(r *replica) {
	ctx, cancel := context.WithTimeout(context.Background(), f.upTo(5*time.Second))
	defer cancel()
	f.note("a replica shuts down")
	_ = r.Shutdown(ctx) // an error if it had to cancel
	_ = r.guard.Shutdown(context.Background())
	if f.chance.IntN(2) == 0 {
		time.Sleep(f.upTo(30 * time.Second))
	}
	f.note("a replica joins")
	*r = f.joins()
}

func (f *fleet) failCall() {
	calls := []guardtest.Op{
		guardtest.OpClaimTick, guardtest.OpEndTick, guardtest.OpLastTick,
		guardtest.OpAcquire, guardtest.OpRelease, guardtest.OpRenew,
	}
	fault := guardtest.Fault{Op: calls[f.chance.IntN(len(calls))], Lost: f.chance.IntN(2) == 0, Times: 1 + f.chance.IntN(2)}
	if !fault.Lost || f.chance.IntN(2) == 0 {
		fault.Err = errors.New("connection reset")
	}
	f.note(fmt.Sprintf("fault %+v", fault))
	f.store.Inject(fault)
}

func (f *fleet) run(ctx context.Context) error {
	tick := cronwrap.Tick(ctx).Sub(f.start)
	token, _ := guard.Fence(ctx)
	f.note(fmt.Sprint("begins ", tick))
	f.mu.Lock()
	f.begun = append(f.begun, begun{tick, token})
	length := time.Duration(f.runs.Int64N(int64(f.longest)))
	f.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
	if err := ctx.Err(); err != nil {
		f.note(fmt.Sprintf("breaks %v off: %v", tick, context.Cause(ctx)))
		return err
	}
	f.note(fmt.Sprint("ends ", tick))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done[tick] = true
	return nil
}

func (f *fleet) note(what any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.story = append(f.story, fmt.Sprint(time.Since(f.start), "\t", what))
}

func (f *fleet) judge() {
	f.mu.Lock()
	defer f.mu.Unlock()
	ran := make(map[time.Duration]bool)
	var before begun
	for _, b := range f.begun {
		switch {
		case b.tick < before.tick:
			f.Errorf("tick %v was begun after that of %v", b.tick, before.tick)
		case b.tick > before.tick && b.token < before.token:
			f.Errorf("tick %v was begun under a lease that was lost before that of %v was begun", b.tick, before.tick)
		case ran[b.tick] && !f.retry:
			f.Errorf("tick %v ran twice", b.tick)
		case f.retry && !f.done[b.tick]:
			f.Errorf("tick %v was begun and never done", b.tick)
		}
		before, ran[b.tick] = b, true
	}
	now := time.Since(f.start).Truncate(fleetStep)
	for tick := now - 3*time.Minute; tick < now && f.longest < fleetStep; tick += fleetStep {
		if !ran[tick] {
			f.Errorf("tick %v did not run, long after the trouble was over", tick)
		}
	}
	if f.Failed() {
		f.Fatalf("%s\n%s", f.what, strings.Join(f.story, "\n"))
	}
}
