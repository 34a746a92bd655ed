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
	try      *guard.Guard    // the user's Wait, else tries once
	queue    *guard.Guard    // the user's Wait, else waits
	noWait   *guard.Guard    // tries once

	id      cron.EntryID // guarded by Runner.adding
	started atomic.Bool  // cron was started, as far as is known

	// Guarded by Runner.mu.
	lag      lag        // ticks that may have been missed
	waiting  []*tickRun // ticks that wait for the key, in order
	catching bool       // a goroutine catches up
	wanted   bool       // it has to look once more
	seen     time.Time  // the latest activation that cron has called Run for
}

// Run implements cron.Job. cron calls it on a goroutine of its own for each tick.
func (j *job) Run() {
	// A panic of the schedule would end the process too.
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

// scheduled returns the scheduled time of the tick for which cron called Run: that of
// the entry's Prev, which cron sets before it answers. Why not what the schedule's
// Next returned is in docs/design/cronwrap-ticks.md.
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

// skipped reports whether cron left out activations between the latest it has called
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

// conclude reports how t ended, and notes missed ticks.
func (j *job) conclude(t *tickRun, err error) {
	broken := t.failedEarlierTick(err) // then t's own tick did not run, and is reported too
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

// A tick asks for busyRetry, every busyPause, for a key that is held: the holder may
// be a replica that is about to claim this tick, or has just finished an earlier one.
// After that the holder runs an earlier tick or other code.
const (
	busyRetry = 250 * time.Millisecond
	busyPause = 10 * time.Millisecond
)

// oncePerTick runs t's tick unless it is done or claimed. It reads the last tick
// before it asks for the key: a replica that comes late must not take the key from a
// tick that is due. See docs/design/cronwrap-ticks.md.
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

// dealtWith reports whether tick needs no run any more, if last is the tick that the
// store remembers.
func (j *job) dealtWith(tick time.Time, last lease.Tick) bool {
	return last.At.After(tick) || last.At.Equal(tick) && (last.Done || !j.opts.retry)
}

// waitFor runs t's tick when the key is granted. last is the tick that the store
// remembers, zero if it was not read.
func (j *job) waitFor(t *tickRun, last lease.Tick) error {
	if !t.joinQueue(last) {
		return errOverlap
	}
	return j.do(j.queue, t)
}

// do runs t's tick under the key. It repeats a request that fails because of the
// store for attemptTimeout, whatever the guard's Wait: a failover at a tick should
// not cost that tick on the whole fleet. Nothing has been claimed then, so the tick
// does not run twice. Once the key was granted there is no second attempt.
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
		// A process that has lost the key has claimed a tick since backfill looked.
		// It cannot any more once this one has claimed.
		if t.ran || !errors.Is(err, errUnfinished) {
			return err
		}
	}
}

// call calls fn. Its panic becomes an error.
func (j *job) call(ctx context.Context, tick time.Time) error {
	return caught(func() error { return j.fn(withRun(ctx, j.name, tick)) })
}
