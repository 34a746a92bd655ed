package cronwrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
)

// job is one job of a Runner: what cron runs at each tick.
type job struct {
	*Runner

	name     string
	fn       func(context.Context) error
	opts     jobOptions
	schedule schedule
	ticks    lease.TickStore // nil with MutualExclusion
	try      *guard.Guard    // tries once, unless the user says otherwise
	line     *guard.Guard    // waits, likewise

	id      cron.EntryID // guarded by Runner.adding
	started sync.Once

	// behind is set while ticks may have been missed: at first, and after the
	// store was down.
	behind atomic.Bool

	waiting []*place // those that stand in line, by tick; guarded by Runner.mu
}

// Run implements cron.Job. cron calls it on a goroutine of its own for each tick.
func (j *job) Run() {
	tick := j.scheduled()
	p := j.arrive(tick)
	if p == nil {
		return
	}
	defer p.leave()
	err := errGoexit // unless it returns
	defer func() { j.settle(p, err) }()
	err = j.attempt(p)
}

// scheduled returns the scheduled time of the tick for which cron called Run.
//
// cron sets an entry's Prev after it has started the job's goroutine, and answers
// Entry between two rounds of its loop: by then Prev is set. And the job can
// start before cron has told the entry's id; adding is held until the id is
// known. (To take note of what the schedule's Next returned would not do: cron
// asks again when it is restarted, and so may anybody who lists its entries.)
// If this goroutine had no turn for so long that the next tick came due, it finds
// that one: there are two runs for it then, of which one claims it, and the
// earlier tick is lost, as cron itself loses what comes due while the process is
// stopped.
func (j *job) scheduled() time.Time {
	j.adding.Lock()
	id := j.id
	j.adding.Unlock()
	prev := j.cron.Entry(id).Prev
	if prev.IsZero() { // called by hand, or removed meanwhile
		return prev
	}
	return j.schedule.tick(prev)
}

// attempt runs p's tick, or returns why not.
func (j *job) attempt(p *place) error {
	switch {
	case j.ticks != nil && p.tick.IsZero():
		return errNotFired
	case j.ticks != nil:
		return j.oncePerTick(p)
	case j.opts.overlap == Wait:
		return j.waitFor(p)
	}
	return j.do(j.try, p)
}

// settle tells whoever is concerned how p ended.
func (j *job) settle(p *place, err error) {
	switch {
	case err == nil:
	case !p.ran && p.quiet(err):
		slog.Debug("cronwrap: tick not run", "job", j.name, "tick", p.tick, "reason", err)
	default:
		if !p.ran && j.opts.catchUp > 0 {
			j.behind.Store(true)
		}
		j.report(p.tick, err)
	}
}

func (j *job) report(tick time.Time, err error) {
	tell(j.Runner.opts.onError, &Error{Name: j.name, Tick: tick, Err: err})
}

// moment is how long a tick asks again for a key that somebody has who has
// claimed no tick: a replica that is about to claim, or has just finished, and
// not the run of an earlier tick.
const (
	moment = 250 * time.Millisecond
	pause  = 10 * time.Millisecond
)

// oncePerTick runs p's tick unless it is dealt with.
//
// What the store remembers is looked at before the key is asked for. So replicas
// that come late do not take the key, from a tick that is due, only to find that
// there is nothing to do; and it tells the run of an earlier tick, which Skip is
// about, from a replica that is at this very tick.
func (j *job) oncePerTick(p *place) error {
	for began := time.Now(); ; time.Sleep(pause) {
		last, err := j.last(p.ctx)
		if err != nil {
			return err
		}
		earlier := last.At.Before(p.tick) && !last.At.IsZero()
		overlaps := earlier && !last.Done
		switch {
		case last.At.After(p.tick), last.At.Equal(p.tick) && (last.Done || !j.opts.retry):
			return errDealtWith
		case j.opts.overlap == Wait, j.opts.retry && !overlaps:
			return j.waitFor(p)
		}
		err = j.do(j.try, p)
		switch {
		case p.ran || !errors.Is(err, guard.ErrBusy) || p.ctx.Err() != nil:
			return err
		case overlaps:
			return fmt.Errorf("%w: %w", errOverlap, err)
		case time.Since(began) > moment:
			return err
		}
	}
}

// waitFor runs p's tick when its turn has come.
func (j *job) waitFor(p *place) error {
	if !p.standInLine() {
		return errOverlap
	}
	return j.do(j.line, p)
}

// do runs p's tick under the key.
func (j *job) do(g *guard.Guard, p *place) error {
	return g.Do(p.ctx, j.name, func(ctx context.Context) error {
		switch {
		case !p.begin():
			return context.Cause(p.ctx)
		case j.ticks == nil:
			p.ran = true
			return j.call(ctx, p.tick)
		}
		if err := j.makeUp(ctx, p.tick); err != nil || p.tick.IsZero() {
			return err
		}
		return j.claimAndCall(ctx, p.tick, true, &p.ran)
	})
}

// call calls fn. Its panic becomes an error.
func (j *job) call(ctx context.Context, tick time.Time) error {
	return caught(func() error { return j.fn(withRun(ctx, j.name, tick)) })
}
