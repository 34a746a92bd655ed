package cronwrap

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
)

// Why ticks do not run. These are nothing that went wrong.
var (
	errDealtWith  = errors.New("another replica has this tick, or a later one")
	errOverlap    = errors.New("the run of an earlier tick is not over")
	errSuperseded = errors.New("a later tick took its tickRun in line")
)

// errUnfinished is why a tick is not claimed yet, with Retry.
var errUnfinished = errors.New("an earlier tick was claimed and is not done")

// errUnrun is why nobody else runs a tick that did not run here. With Retry somebody
// does, so then it is nothing that went wrong.
var errUnrun = errors.New("the tick was claimed, or may have been, and did not run")

// errNotFired is reported: whoever called the job expected a run.
var errNotFired = errors.New("cron knows no tick for this run: it was called by hand before the first tick, or its entry was removed")

// place is a tick on its way to its run. Until that begins it can be called off,
// by Shutdown, or by a later tick that takes its place in line.
type tickRun struct {
	job  *job
	tick time.Time // zero: only to catch up

	ctx    context.Context // of the wait and the run
	cancel context.CancelCauseFunc

	// Of the goroutine that runs the tick.
	asked        time.Time // when it last asked for the key
	ran          bool      // fn was called for it
	latest       time.Time // tick for which fn was called under its key: it, or one that was made up for
	lossReported bool      // the handler knows how the lease of the latest was lost
}

// arrive returns a place for tick, or nil after Shutdown. Its owner calls leave.
func (j *job) newTickRun(tick time.Time) *tickRun {
	t := &tickRun{job: j, tick: tick}
	t.ctx, t.cancel = context.WithCancelCause(j.ctx)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closedLocked() {
		t.cancel(nil)
		return nil
	}
	j.active++
	j.pending[t] = struct{}{}
	return t
}

func (t *tickRun) remove() {
	t.cancel(nil)
	r := t.job.Runner
	r.mu.Lock()
	defer r.mu.Unlock()
	t.removeLocked()
	r.doneLocked()
}

// begin says whether the run may begin. Whoever would call it off comes too late
// then, or came in time and has cancelled ctx: both happen under mu.
func (t *tickRun) begin() bool {
	r := t.job.Runner
	r.mu.Lock()
	defer r.mu.Unlock()
	t.removeLocked()
	return t.ctx.Err() == nil
}

func (t *tickRun) cancelLocked(why error) {
	t.cancel(why)
	t.removeLocked()
}

func (t *tickRun) removeLocked() {
	delete(t.job.pending, t)
	t.job.waiting = slices.DeleteFunc(t.job.waiting, func(other *tickRun) bool { return other == t })
}

// standInLine says whether t may wait for the key. One tick of the job waits in
// each process. When another comes, Skip drops that, and Wait the one before.
//
// With Retry the first of those that wait may be the one that has to take over
// from a dead runner, so it stays, and with Wait there is a second place. But
// those go whose tick is dealt with, now that the store remembers last: they wait
// for nothing.
func (t *tickRun) joinQueue(last lease.Tick) bool {
	j := t.job
	j.mu.Lock()
	defer j.mu.Unlock()
	room := 1
	if j.opts.retry && j.opts.overlap == Wait {
		room = 2
	}
	for _, other := range slices.Clone(j.waiting) {
		if j.dealtWith(other.tick, last) {
			other.cancelLocked(errDealtWith)
		}
	}
	if len(j.waiting) == room {
		latest := j.waiting[room-1]
		if j.opts.overlap == Skip || !latest.tick.Before(t.tick) {
			return false
		}
		latest.cancelLocked(errSuperseded)
	}
	j.waiting = append(j.waiting, t)
	return true
}

// quiet says whether err, of a tick that did not run, is nothing that went wrong.
func (t *tickRun) expected(err error) bool {
	if errors.Is(err, errUnrun) && !t.job.opts.retry {
		return false
	}
	for _, normal := range []error{errDealtWith, errOverlap, errSuperseded, guard.ErrBusy} {
		if errors.Is(err, normal) {
			return true
		}
	}
	return t.ctx.Err() != nil || errors.Is(err, guard.ErrClosed) && t.job.isClosed()
}
