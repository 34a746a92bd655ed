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
	queue    *guard.Guard    // waits, likewise
	noWait   *guard.Guard    // tries once, whatever the user says

	id      cron.EntryID // guarded by Runner.adding
	started atomic.Bool  // cron has, as far as is known

	// Guarded by Runner.mu.
	lag      lag        // ticks that may have been missed
	waiting  []*tickRun // those that stand in line, by tick
	catching bool       // a goroutine catches up
	wanted   bool       // it has to look once more
	seen     time.Time  // the latest activation that cron has called Run for
}

// Run implements cron.Job. cron calls it on a goroutine of its own for each tick.
func (j *job) Run() {
	// A panic of the schedule is caught too: nothing else would keep it from
	// ending the process.
	var tick time.Time
	failed := caught(func() error { tick = j.scheduled(); return nil })
	t := j.newTickRun(tick)
	if t == nil {
		return
	}
	defer t.remove()
	err := errGoexit // unless it returns
	defer func() { j.conclude(t, err) }()
	if failed != nil {
		err = failed
		return
	}
	err = caught(func() error { return j.attempt(t) })
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

// attempt runs t's tick, or returns why not.
func (j *job) attempt(t *tickRun) error {
	switch {
	case j.ticks != nil && t.tick.IsZero():
		return errNotFired
	case j.ticks != nil:
		return j.oncePerTick(t)
	case j.opts.overlap == Wait:
		return j.waitFor(t, lease.Tick{})
	}
	return j.do(j.try, t)
}

// settle tells whoever is concerned how t ended.
func (j *job) conclude(t *tickRun, err error) {
	broken := t.failedEarlierTick(err) // then a tick of t's own did not run, and is told of too
	if broken && !t.lossReported {
		j.report(t.latest, err)
	}
	switch {
	case err == nil:
	case broken && t.tick.IsZero():
		j.fallBehind(t, err)
	case !t.ran && t.expected(err):
		j.dropped(t, err)
	default:
		j.fallBehind(t, err)
		j.report(t.tick, err)
	}
}

func (j *job) report(tick time.Time, err error) {
	callHandler(j.Runner.opts.onError, &Error{Name: j.name, Tick: tick, Err: err})
}

// moment is how long a tick asks again for a key that somebody has: a replica
// that is about to claim, or has just finished. Until it is over, what looks like
// the run of an earlier tick can be that of this one, before its claim.
const (
	busyRetry = 250 * time.Millisecond
	busyPause = 10 * time.Millisecond
)

// oncePerTick runs t's tick unless it is dealt with.
//
// What the store remembers is looked at before the key is asked for. So replicas
// that come late do not take the key, from a tick that is due, only to find that
// there is nothing to do; and it tells the run of an earlier tick, which Skip is
// about, from a replica that is at this very tick.
func (j *job) oncePerTick(t *tickRun) error {
	for busy := (time.Time{}); ; time.Sleep(busyPause) {
		last, err := j.last(t.ctx)
		if err != nil {
			return err
		}
		earlier := last.At.Before(t.tick) && !last.At.IsZero()
		overlaps := earlier && !last.Done
		switch {
		case j.dealtWith(t.tick, last):
			return errDealtWith
		case j.opts.overlap == Wait, j.opts.retry && !overlaps:
			return j.waitFor(t, last)
		}
		g := j.try
		if overlaps {
			g = j.noWait // Skip waits for no run
		}
		err = j.do(g, t)
		if busy.IsZero() {
			busy = t.asked // not before: the store may have failed for a while
		}
		switch {
		case t.ran || !errors.Is(err, guard.ErrBusy) || t.ctx.Err() != nil:
			return err
		case time.Since(busy) <= busyRetry:
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

// waitFor runs t's tick when its turn has come. last is what the store remembers,
// if it was asked.
func (j *job) waitFor(t *tickRun, last lease.Tick) error {
	if !t.joinQueue(last) {
		return errOverlap
	}
	return j.do(j.queue, t)
}

// do runs t's tick under the key. A store that does not grant it because it fails
// is asked again for a while, whatever the guard's Wait: a failover at a tick should
// not cost that tick on the whole fleet. Nothing has been claimed then, and each
// attempt claims anew, so the tick does not run twice for that. Once the key was
// granted there is no second attempt: the place was given up to the run.
func (j *job) do(g *guard.Guard, t *tickRun) error {
	began := time.Now()
	for wait := busyPause; ; wait = min(2*wait, busyRetry) {
		granted := false
		t.asked = time.Now()
		err := g.Do(t.ctx, j.name, func(ctx context.Context) error {
			granted = true
			return j.runUnderKey(ctx, t)
		})
		if granted || !errors.Is(err, guard.ErrUnavailable) || errors.Is(err, lease.ErrRefused) ||
			t.ctx.Err() != nil || time.Since(began)+wait >= attemptTimeout {
			return err
		}
		sleep(t.ctx, wait)
	}
}

func (j *job) runUnderKey(ctx context.Context, t *tickRun) error {
	switch {
	case !t.begin():
		return context.Cause(t.ctx)
	case j.ticks == nil:
		t.ran = true
		return j.call(ctx, t.tick)
	}
	for {
		err := j.backfill(ctx, t)
		if err == nil && !t.tick.IsZero() {
			err = j.claimAndCall(ctx, t, t.tick, true)
		}
		// Somebody who does not know that we have the key has claimed a tick since
		// makeUp looked. Nobody can any more once we have claimed one.
		if t.ran || !errors.Is(err, errUnfinished) {
			return err
		}
	}
}

// call calls fn. Its panic becomes an error.
func (j *job) call(ctx context.Context, tick time.Time) error {
	return caught(func() error { return j.fn(withRun(ctx, j.name, tick)) })
}
