package cronwrap

import (
	"context"
	"errors"
	"fmt"
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
	once     *guard.Guard    // tries once, whatever the user says

	id      cron.EntryID // guarded by Runner.adding
	started atomic.Bool  // cron has, as far as is known

	// Guarded by Runner.mu.
	lag      lag       // ticks that may have been missed
	waiting  []*place  // those that stand in line, by tick
	catching bool      // a goroutine catches up
	wanted   bool      // it has to look once more
	seen     time.Time // the latest activation that cron has called Run for
}

// Run implements cron.Job. cron calls it on a goroutine of its own for each tick.
func (j *job) Run() {
	// A panic of the schedule is caught too: nothing else would keep it from
	// ending the process.
	var tick time.Time
	failed := caught(func() error { tick = j.scheduled(); return nil })
	p := j.arrive(tick)
	if p == nil {
		return
	}
	defer p.leave()
	err := errGoexit // unless it returns
	defer func() { j.settle(p, err) }()
	if failed != nil {
		err = failed
		return
	}
	err = caught(func() error { return j.attempt(p) })
}

// scheduled returns the scheduled time of the tick for which cron called Run.
//
// cron sets an entry's Prev after it has started the job's goroutine, and answers
// Entry between two rounds of its loop: by then Prev is set. And the job can
// start before cron has told the entry's id; adding is held until the id is
// known. It shares the answer with others that ask at about the same time; see
// snapshots. (To take note of what the schedule's Next returned would not do: cron
// asks again when it is restarted, and so may anybody who lists its entries.)
// If this goroutine had no turn for so long that the next tick came due, it finds
// that one: there are two runs for it then, of which one claims it, and the
// earlier tick is lost, as cron itself loses what comes due while the process is
// stopped.
func (j *job) scheduled() time.Time {
	prev := j.entry().Prev
	if prev.IsZero() { // called by hand, or removed meanwhile
		return prev
	}
	if j.opts.catchUp > 0 && j.skipped(prev) {
		j.fellBehind()
	}
	return j.schedule.tick(prev)
}

// skipped says whether cron left out activations between the latest it has called
// Run for and this one: it was stopped and started again, or the machine slept.
func (j *job) skipped(activation time.Time) bool {
	j.mu.Lock()
	seen := j.seen
	if activation.After(seen) {
		j.seen = activation
	}
	j.mu.Unlock()
	return !seen.IsZero() && j.schedule.Next(seen.In(j.schedule.location)).Before(activation)
}

// attempt runs p's tick, or returns why not.
func (j *job) attempt(p *place) error {
	switch {
	case j.ticks != nil && p.tick.IsZero():
		return errNotFired
	case j.ticks != nil:
		return j.oncePerTick(p)
	case j.opts.overlap == Wait:
		return j.waitFor(p, lease.Tick{})
	}
	return j.do(j.try, p)
}

// settle tells whoever is concerned how p ended.
func (j *job) settle(p *place, err error) {
	broken := p.brokeAnEarlier(err) // then a tick of p's own did not run, and is told of too
	if broken && !p.told {
		j.report(p.latest, err)
	}
	switch {
	case err == nil:
	case broken && p.tick.IsZero():
		j.fallBehind(p, err)
	case !p.ran && p.quiet(err):
		j.dropped(p, err)
	default:
		j.fallBehind(p, err)
		j.report(p.tick, err)
	}
}

func (j *job) report(tick time.Time, err error) {
	tell(j.Runner.opts.onError, &Error{Name: j.name, Tick: tick, Err: err})
}

// moment is how long a tick asks again for a key that somebody has: a replica
// that is about to claim, or has just finished. Until it is over, what looks like
// the run of an earlier tick can be that of this one, before its claim.
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
	for busy := (time.Time{}); ; time.Sleep(pause) {
		last, err := j.last(p.ctx)
		if err != nil {
			return err
		}
		earlier := last.At.Before(p.tick) && !last.At.IsZero()
		overlaps := earlier && !last.Done
		switch {
		case j.dealtWith(p.tick, last):
			return errDealtWith
		case j.opts.overlap == Wait, j.opts.retry && !overlaps:
			return j.waitFor(p, last)
		}
		g := j.try
		if overlaps {
			g = j.once // Skip waits for no run
		}
		err = j.do(g, p)
		if busy.IsZero() {
			busy = p.asked // not before: the store may have failed for a while
		}
		switch {
		case p.ran || !errors.Is(err, guard.ErrBusy) || p.ctx.Err() != nil:
			return err
		case time.Since(busy) <= moment:
		case overlaps:
			return fmt.Errorf("%w: %w", errOverlap, err)
		default:
			return err
		}
	}
}

// dealtWith says whether tick needs no run any more, if last is what the store
// remembers.
func (j *job) dealtWith(tick time.Time, last lease.Tick) bool {
	return last.At.After(tick) || last.At.Equal(tick) && (last.Done || !j.opts.retry)
}

// waitFor runs p's tick when its turn has come. last is what the store remembers,
// if it was asked.
func (j *job) waitFor(p *place, last lease.Tick) error {
	if !p.standInLine(last) {
		return errOverlap
	}
	return j.do(j.line, p)
}

// do runs p's tick under the key. A store that does not grant it because it fails
// is asked again for a while, whatever the guard's Wait: a failover at a tick should
// not cost that tick on the whole fleet. Nothing has been claimed then, and each
// attempt claims anew, so the tick does not run twice for that. Once the key was
// granted there is no second attempt: the place was given up to the run.
func (j *job) do(g *guard.Guard, p *place) error {
	began := time.Now()
	for wait := pause; ; wait = min(2*wait, moment) {
		granted := false
		p.asked = time.Now()
		err := g.Do(p.ctx, j.name, func(ctx context.Context) error {
			granted = true
			return j.runUnderKey(ctx, p)
		})
		if granted || !errors.Is(err, guard.ErrUnavailable) || errors.Is(err, lease.ErrRefused) ||
			p.ctx.Err() != nil || time.Since(began)+wait >= attemptTimeout {
			return err
		}
		sleep(p.ctx, wait)
	}
}

func (j *job) runUnderKey(ctx context.Context, p *place) error {
	switch {
	case !p.begin():
		return context.Cause(p.ctx)
	case j.ticks == nil:
		p.ran = true
		return j.call(ctx, p.tick)
	}
	for {
		err := j.makeUp(ctx, p)
		if err == nil && !p.tick.IsZero() {
			err = j.claimAndCall(ctx, p, p.tick, true)
		}
		// Somebody who does not know that we have the key has claimed a tick since
		// makeUp looked. Nobody can any more once we have claimed one.
		if p.ran || !errors.Is(err, errUnfinished) {
			return err
		}
	}
}

// call calls fn. Its panic becomes an error.
func (j *job) call(ctx context.Context, tick time.Time) error {
	return caught(func() error { return j.fn(withRun(ctx, j.name, tick)) })
}
