package cronwrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
)

// attemptTimeout bounds one call of the store about ticks, and how long a read is
// repeated.
const attemptTimeout = 2 * time.Second

// last returns the tick that the store remembers. It repeats the read for
// attemptTimeout: one lost connection must not cost a tick.
func (j *job) last(ctx context.Context) (lease.Tick, error) {
	began := time.Now()
	for wait := busyPause; ; wait = min(2*wait, busyRetry) {
		last, err := j.lastOnce(ctx)
		if err == nil {
			return last, nil
		}
		if ctx.Err() != nil || errors.Is(err, lease.ErrRefused) || time.Since(began)+wait >= attemptTimeout {
			return lease.Tick{}, fmt.Errorf("%w: the last tick could not be read: %w", guard.ErrUnavailable, err)
		}
		sleep(ctx, wait)
	}
}

// sleep ends early with ctx.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (j *job) lastOnce(ctx context.Context) (lease.Tick, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return j.ticks.LastTick(ctx, j.name)
}

// claimAndCall claims tick and calls fn, under the key of t. final is the last tick
// of a run, during which later ticks may have been skipped.
func (j *job) claimAndCall(ctx context.Context, t *tickRun, tick time.Time, final bool) error {
	owner := j.guard.Store().NewOwner("")
	if err := j.claim(ctx, owner, tick); err != nil {
		return err
	}
	t.ran, t.latest = tick.Equal(t.tick), tick
	var err error // nil if fn exits its goroutine
	defer func() { j.end(ctx, owner, tick, final, err) }()
	err = j.call(ctx, tick)
	return err
}

// claim claims tick, and repeats the request while the key is held if there is no
// reply: a second claim by the same owner is granted again. It comes before fn, so a
// tick runs at most once. docs/design/cronwrap-ticks.md has the case of a key that
// was lost.
func (j *job) claim(ctx context.Context, owner string, tick time.Time) error {
	fence, exclusive := guard.Fence(ctx)
	r := lease.TickRequest{
		Key: j.name, Owner: owner, At: tick, MaxAhead: j.Runner.opts.maxSkew,
		Rerun: j.opts.retry && exclusive, Fence: fence,
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for wait := busyPause; ; wait = min(2*wait, busyRetry) {
		reply, err := j.askFor(ctx, r)
		switch {
		case (err != nil || reply.Claimed) && ctx.Err() != nil:
			// Also if it was claimed: the key may be lost by now.
			return unrun(ctx)
		case err == nil && reply.Claimed:
			return nil
		case err == nil:
			return refused(r, reply)
		case errors.Is(err, lease.ErrRefused):
			return fmt.Errorf("%w: the tick could not be claimed: %w", guard.ErrUnavailable, err)
		}
		if sleep(ctx, wait); ctx.Err() != nil {
			return unrun(ctx)
		}
	}
}

func refused(r lease.TickRequest, reply lease.TickReply) error {
	switch {
	case reply.Ahead > 0:
		return fmt.Errorf("%w: by %v", ErrSkew, reply.Ahead)
	case !reply.Last.At.Before(r.At):
		return errDealtWith
	case r.Fence > 0 && reply.Last.Fence > r.Fence:
		return fmt.Errorf("%w: the next holder has claimed a tick", guard.ErrLost)
	}
	return errUnfinished
}

func unrun(ctx context.Context) error { return fmt.Errorf("%w: %w", errUnrun, context.Cause(ctx)) }

func (j *job) askFor(ctx context.Context, r lease.TickRequest) (lease.TickReply, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return j.ticks.ClaimTick(ctx, r)
}

// droppedAge is how long ago a tick must have come due to have been dropped for a run
// that ends now: for busyRetry replicas still ask for its key.
const droppedAge = busyRetry + 5*busyPause

// endTries is how often the end of a tick is sent. The key is held meanwhile.
const endTries = 3

// end marks tick done, if its run counts. Without Retry a failure does no harm: no
// other replica runs the tick again.
func (j *job) end(ctx context.Context, owner string, tick time.Time, final bool, failed error) {
	if !j.over(ctx, failed) {
		return
	}
	r := lease.TickEnd{Key: j.name, Owner: owner, At: tick, Settled: droppedAge}
	if final && j.opts.overlap == Skip && j.opts.catchUp > 0 {
		// Skipped ticks were not missed. A panic of the schedule must not keep the
		// tick from being marked.
		if err := caught(func() error { r.Through = j.latestSince(tick); return nil }); err != nil {
			j.report(tick, err)
		}
	}
	var err error
	for range endTries {
		if err = j.endOnce(ctx, r); err == nil || guardLost(ctx) {
			return
		}
	}
	if j.opts.retry {
		j.report(tick, fmt.Errorf("%w: the tick ran and could not be marked done; it may run again: %w", guard.ErrUnavailable, err))
	}
}

// latestSince returns the latest tick after tick that has come due; zero if none.
func (j *job) latestSince(tick time.Time) time.Time {
	due := j.schedule.latest(tick, time.Time{}, time.Now(), 1)
	if len(due) == 0 {
		return time.Time{}
	}
	return due[0]
}

func (j *job) endOnce(ctx context.Context, r lease.TickEnd) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout/2)
	defer cancel()
	_, err := j.ticks.EndTick(ctx, r)
	return err
}

// over reports whether tick's run counts, now that fn has returned. After a lost
// lease another replica may run the tick again already. A run that Shutdown cancelled
// is left to another replica with Retry, and to none without.
func (j *job) over(ctx context.Context, failed error) bool {
	if guardLost(ctx) {
		return false
	}
	brokenOff := errors.Is(context.Cause(ctx), guard.ErrClosed) && failed != nil
	return !brokenOff || !j.opts.retry
}

// guardLost reports a lost lease. ctx.Err compares the clocks first, so it is called
// before Cause.
func guardLost(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), guard.ErrLost)
}
