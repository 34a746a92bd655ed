package cronwrap

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
)

// Why ticks do not run, without a failure.
var (
	errDealtWith  = errors.New("another replica has this tick, or a later one")
	errOverlap    = errors.New("the run of an earlier tick is not over")
	errSuperseded = errors.New("a later tick took its place in the queue")
)

// errUnfinished is why a tick is not claimed yet, with Retry.
var errUnfinished = errors.New("an earlier tick was claimed and is not done")

// errUnrun is a failure without Retry: no other replica runs the tick. With Retry one
// does.
var errUnrun = errors.New("the tick was claimed, or may have been, and did not run")

// errNotFired is reported, since the caller expected a run.
var errNotFired = errors.New("cron knows no tick for this run: it was called by hand before the first tick, or its entry was removed")

// tickRun is one tick, from the time it comes due to the end of its run. Until the
// run begins Shutdown can cancel it, or a later tick that takes its place in the
// queue.
type tickRun struct {
	job  *job
	tick time.Time // zero: only a backfill

	ctx    context.Context // of the wait and the run
	cancel context.CancelCauseFunc

	// Used by the goroutine that runs the tick alone.
	asked        time.Time // when it last asked for the key
	ran          bool      // fn was called for it
	latest       time.Time // latest tick for which fn was called: its own, or a backfilled one
	lossReported bool      // the loss of the lease was reported with latest
}

// newTickRun returns a tickRun for tick, or nil after Shutdown. The caller calls
// remove.
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

// begin reports whether the run may begin. From then on t cannot be cancelled: both
// happen under mu.
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

// joinQueue reports whether t may wait for the key. One tick of the job waits in each
// process: when another comes, Skip drops that, and Wait the one before. With Retry
// the first stays, to take over from a dead runner, and with Wait a second may wait.
// Ticks that last shows to be done are cancelled.
func (t *tickRun) joinQueue(last lease.Tick) bool {
	j := t.job
	j.mu.Lock()
	defer j.mu.Unlock()
	places := 1
	if j.opts.retry && j.opts.overlap == Wait {
		places = 2
	}
	for _, other := range slices.Clone(j.waiting) {
		if j.dealtWith(other.tick, last) {
			other.cancelLocked(errDealtWith)
		}
	}
	if len(j.waiting) == places {
		latest := j.waiting[places-1]
		if j.opts.overlap == Skip || !latest.tick.Before(t.tick) {
			return false
		}
		latest.cancelLocked(errSuperseded)
	}
	j.waiting = append(j.waiting, t)
	return true
}

// expected reports whether err, of a tick that did not run, is no failure.
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
