package cronwrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard"
)

// lastWait is how long Shutdown waits for jobs after it has cancelled them.
const lastWait = 10 * time.Second

var errOthers = errors.New("jobs that cron has from elsewhere have not returned")

// Shutdown stops cron, and so also jobs that other code has added to it: no tick
// begins any more, and those that wait for the key give up. It waits for the runs
// under way. When ctx ends first it cancels their contexts with cause guard.ErrClosed
// and waits for at most 10 s more; then it returns an error that wraps ctx's cause.
// Keys of runs that still go on stay held.
//
// It does not shut down the guard: do that after it. It may be called again, but not
// from a job, since it would wait for itself.
func (r *Runner) Shutdown(ctx context.Context) error {
	r.close()
	stopped := r.cron.Stop() // ends when all jobs of cron have returned
	if r.wait(ctx, stopped) {
		return nil
	}
	cancelled := r.running()
	r.cancel(guard.ErrClosed)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWait)
	defer cancel()
	ended := r.wait(last, stopped)
	switch left := r.running(); {
	case cancelled > 0 || left > 0:
		return fmt.Errorf("cronwrap: shutdown: %d runs had to be cancelled, %d have not returned: %w",
			cancelled, left, context.Cause(ctx))
	case !ended:
		return fmt.Errorf("cronwrap: shutdown: %w: %w", errOthers, context.Cause(ctx))
	}
	return nil
}

// close keeps ticks from beginning.
func (r *Runner) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closedLocked() {
		close(r.closing)
	}
	for p := range r.pending {
		p.cancel(guard.ErrClosed)
	}
}

func (r *Runner) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closedLocked()
}

func (r *Runner) closedLocked() bool {
	select {
	case <-r.closing:
		return true
	default:
		return false
	}
}

// wait reports whether all runs have ended, and cron's other jobs, before ctx did.
func (r *Runner) wait(ctx, stopped context.Context) bool {
	for _, ended := range []<-chan struct{}{r.allEnded(), stopped.Done()} {
		select {
		case <-ended:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// allEnded returns a channel that is closed when no run is under way. After close
// none begins.
func (r *Runner) allEnded() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active == 0 {
		ended := make(chan struct{})
		close(ended)
		return ended
	}
	if r.idle == nil {
		r.idle = make(chan struct{})
	}
	return r.idle
}

func (r *Runner) running() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.active
}

func (r *Runner) doneLocked() {
	r.active--
	if r.active == 0 && r.idle != nil {
		close(r.idle)
		r.idle = nil
	}
}
