package cronwrap

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/internal/panics"
)

// Why ticks do not run here, without a failure; and one that the caller hears of.
var (
	errDealtWith  = errors.New("another replica has this tick, or a later one")
	errOverlap    = errors.New("the run of an earlier tick is not over")
	errSuperseded = errors.New("a later tick took its place in the queue")
	errNotFired   = errors.New("cron knows no tick for this run: it was called by hand before the first tick, or its entry was removed")
)

// job is one job of a Runner: what cron runs at each tick.
type job struct {
	*Runner

	name     string
	fn       func(context.Context) error
	added    time.Time
	opts     jobOptions
	schedule schedule
	ticks    lease.TickStore // nil with MutualExclusion
	ask      *guard.Guard    // the user's Wait, or what opts say
	askOnce  *guard.Guard
	queue    *guard.Guard // the user's Wait, or none

	// Of the goroutine in pursue.
	spans []span // since the last tick that the store remembers
	slot  bool   // it has one of Runner.slots

	id      cron.EntryID // guarded by Runner.adding
	started atomic.Bool  // cron was seen to run
	shared  atomic.Bool  // the guard has a Limit or is Shared: nothing can be taken over

	// Guarded by Runner.mu.
	due      []dueTick
	look     bool      // for missed ticks, even if none is due
	pursued  bool      // a goroutine is in pursue
	running  time.Time // when the run under way in this process began; zero: none
	retrying bool      // a goroutine will look later
	retries  int       // in a row
	heard    time.Time // when the store last answered, or the pursuit began
	down     bool      // that the store fails was reported
	status   JobStatus
	first    time.Time       // what came due here first
	warned   map[string]bool // of these claimants
}

const maxDue = 1000 // ticks that wait for the end of a run or for the store

// Run implements cron.Job. cron calls it on a goroutine of its own for each tick. The
// first one works for all that come due meanwhile.
func (j *job) Run() {
	tick := j.scheduled()
	if tick.IsZero() && j.ticks != nil {
		j.report(tick, errNotFired)
		return
	}
	j.mu.Lock()
	if j.first.IsZero() {
		j.first = tick
	}
	i, known := slices.BinarySearchFunc(j.due, tick, func(d dueTick, t time.Time) int { return d.tick.Compare(t) })
	if !known {
		j.due = slices.Insert(j.due, i, dueTick{tick: tick, came: time.Now()})
	}
	var over []settled
	if !j.running.IsZero() { // ends what came due before, and is overlapped
		over = j.opts.decide(view{due: j.due, spans: []span{{began: j.running, ended: j.now()}}}, j.schedule).settled
	}
	for i := range len(j.due) - len(over) - maxDue {
		over = append(over, settled{j.due[i].tick, ErrMissed})
	}
	begun := j.beginLocked()
	waiting := !begun && j.running.IsZero() && j.opts.wait && j.opts.missed == 0 && !j.opts.exclusive
	j.mu.Unlock()
	j.settle(over)
	switch {
	case begun:
		j.pursue()
	case waiting:
		j.supersede(tick)
	}
}

// scheduled returns the scheduled time of the tick for which cron called Run: that of
// the entry's Prev, which cron sets before it answers. Why not what the schedule's
// Next returned is in docs/design/cronwrap-ticks.md.
func (j *job) scheduled() time.Time {
	prev := j.entry().Prev
	if prev.IsZero() { // called by hand, or removed meanwhile
		return prev
	}
	return prev.Add(j.ahead()).Truncate(time.Microsecond).In(j.schedule.location) // as stores keep it
}

// decide applies the job's options to what is known, and settles what it can.
func (j *job) decide(last lease.Tick, held bool) plan {
	o := j.opts
	o.again = o.again && !j.shared.Load()
	j.mu.Lock()
	v := view{now: j.now(), last: last, due: slices.Clone(j.due), first: j.first, held: held, spans: j.spans}
	j.mu.Unlock()
	p := o.decide(v, j.schedule)
	j.settle(p.settled)
	return p
}

// settle forgets due ticks, and says what became of them.
func (j *job) settle(ticks []settled) {
	for _, s := range ticks {
		j.forget(s.tick)
		if errors.Is(s.why, ErrMissed) {
			j.report(s.tick, s.why)
		} else {
			j.log(slog.LevelDebug, s.tick, s.why)
		}
	}
}

func (j *job) forget(tick time.Time) {
	j.locked(func() {
		j.due = slices.DeleteFunc(j.due, func(d dueTick) bool { return d.tick.Equal(tick) })
	})
}

// takeDueLocked removes and returns the ticks that came at least age ago, and wait.
func (j *job) takeDueLocked(age time.Duration) (ticks []time.Time) {
	j.due = slices.DeleteFunc(j.due, func(d dueTick) bool {
		old := !d.asked && time.Since(d.came) >= age
		if old {
			ticks = append(ticks, d.tick)
		}
		return old
	})
	return ticks
}

func (j *job) log(level slog.Level, tick time.Time, why error) {
	slog.Log(context.Background(), level, "cronwrap: tick not run", "job", j.name, "tick", tick, "reason", why)
}

// report calls the handler, and logs its panic.
func (j *job) report(tick time.Time, err error) {
	if p := panics.Catch(func() { j.Runner.opts.onError(&Error{j.name, tick, err}) }); p != nil {
		slog.Error("cronwrap: the OnError handler panicked", "job", j.name, "error", p, "at", p.At)
	}
}

// call calls fn. Its panic becomes an error.
func (j *job) call(ctx context.Context, tick time.Time, attempt int) error {
	ctx = context.WithValue(ctx, runKey{}, run{j.name, tick, attempt})
	return panics.Call(func() error { return j.fn(ctx) })
}

// inTheWay returns the last tick and who has the key, and whether that is its runner, as
// far as can be told, or another program. Others may be replicas that have not begun.
func (j *job) inTheWay(ctx context.Context) (last lease.Tick, h guard.Holder, runner, program bool, err error) {
	if last, err = j.remembered(ctx); err == nil {
		h, err = j.guard.Holder(ctx, j.name)
	}
	program = err == nil && h.Owner != "" && h.Process == ""
	runner = err == nil && h.Process != "" && h.Process == lease.OwnerProcess(last.Owner) && !last.Done
	return last, h, runner, program, err
}

// supersede drops the ticks before tick that wait for the key. Those that wait neither
// for a run nor for another program are reported. If the store does not answer, or this
// process has the key, they wait for that.
func (j *job) supersede(tick time.Time) {
	last, h, runner, program, err := j.inTheWay(j.closing)
	if err != nil || h.Owner == "" || h.Process == lease.OwnerProcess(j.guard.Store().NewOwner("")) {
		return
	}
	why := ErrMissed
	if runner || program {
		why = errSuperseded
	}
	var earlier []settled
	j.locked(func() {
		for _, d := range j.due {
			if d.tick.Before(tick) && d.tick.After(last.At) {
				earlier = append(earlier, settled{d.tick, why})
			}
		}
	})
	j.settle(earlier)
}

// run is what the context of a job carries.
type run struct {
	name    string
	tick    time.Time
	attempt int
}

type runKey struct{}

func runOf(ctx context.Context) run {
	r, _ := ctx.Value(runKey{}).(run)
	return r
}

// Tick returns the scheduled time of the run that ctx comes from, in the location of its
// cron, to the microsecond; the zero time if it comes from none. It is the same in all
// replicas and whenever the run begins, so with guard.Key it can name what the run makes.
// Under [Runner.RunNow] it is the time of the call.
func Tick(ctx context.Context) time.Time { return runOf(ctx).tick }

// JobName returns the name of the job that ctx comes from; "" if it comes from none.
func JobName(ctx context.Context) string { return runOf(ctx).name }

// Attempt returns which run of its tick ctx comes from, from 1; 0 if it comes from no
// job. More than 1 only under [AtLeastOnce], after a run that did not come to its end.
func Attempt(ctx context.Context) int { return runOf(ctx).attempt }
