package cronwrap

import (
	"context"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard"
)

// Shutdown stops cron, and so also jobs that other code has added to it: no tick begins
// any more, and those that wait for the key give up. It waits for the runs under way.
// When ctx ends first it cancels their contexts with cause guard.ErrClosed, waits for at
// most 10 s more, and returns an error that wraps ctx's cause. Shut down the guard after
// it. It may be called again, but not from a job, since it would wait for itself.
func (r *Runner) Shutdown(ctx context.Context) error {
	r.locked(r.close)        // under mu: no work begins after it
	stopped := r.cron.Stop() // ends when all jobs of cron have returned
	if r.wait(ctx, stopped) {
		return nil
	}
	cancelled := r.work.Left()
	r.cancel(guard.ErrClosed)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	ended := r.wait(last, stopped)
	switch left := r.work.Left(); {
	case cancelled > 0 || left > 0:
		return fmt.Errorf("cronwrap: shutdown: %d runs had to be cancelled, %d have not returned: %w",
			cancelled, left, context.Cause(ctx))
	case !ended:
		return fmt.Errorf("cronwrap: shutdown: jobs that cron has from elsewhere have not returned: %w", context.Cause(ctx))
	}
	return nil
}

// wait reports whether all runs have ended, and cron's other jobs, before ctx did.
func (r *Runner) wait(ctx, stopped context.Context) bool {
	if r.work.Wait(ctx) > 0 {
		return false
	}
	select {
	case <-stopped.Done():
		return true
	case <-ctx.Done():
		return false
	}
}

// turn returns a context for a wait and the run after it. Shutdown ends it at once
// until begin is called, which reports whether that is in time, and from then on when
// it cancels runs.
func (r *Runner) turn(parent context.Context) (_ context.Context, begin func() bool, end func()) {
	ctx, cancel := context.WithCancelCause(parent)
	begin = context.AfterFunc(r.closing, func() { cancel(guard.ErrClosed) })
	forget := context.AfterFunc(r.ctx, func() { cancel(context.Cause(r.ctx)) })
	return ctx, begin, func() {
		begin()
		forget()
		cancel(nil)
	}
}
