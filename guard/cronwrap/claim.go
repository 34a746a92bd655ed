package cronwrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
)

// attemptTimeout bounds one call about ticks, and how long a read is repeated.
const attemptTimeout = 2 * time.Second

// last returns the tick that the store remembers. It asks again for a while: one
// lost connection should cost no tick.
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

// claimAndCall claims tick and calls fn, under the key of t. Ticks that came due
// during the run of the final one were skipped, if that is the policy.
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

// claim claims tick, asking again while the key is held if there is no answer: a
// claim of the same owner is granted again, so the lost reply to the first does no
// harm. It comes before fn, so a tick runs at most once, whoever dies when.
//
// A process that was stopped since it was granted the key, or whose lease the store
// has dropped, may not know yet that it holds it no more. If somebody else has it and
// has claimed anything, the store sees that from the fencing tokens, and refuses.
// Until then there is nothing to see: with Retry the next holder finds what such a
// process has claimed, is refused any later tick, and looks again.
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
			// Also if it was claimed: nobody proves that the key is still ours.
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

// settled is how long ago a tick must have come due to have been dropped for a run
// that ends now: until moment is over, replicas still ask for its key.
const droppedAge = busyRetry + 5*busyPause

// endTries is how often the end of a tick is told. The key is held meanwhile.
const endTries = 3

// end marks tick done, if it is. That it is not marked does not matter without
// Retry: no other replica runs it again.
func (j *job) end(ctx context.Context, owner string, tick time.Time, final bool, failed error) {
	if !j.over(ctx, failed) {
		return
	}
	r := lease.TickEnd{Key: j.name, Owner: owner, At: tick, Settled: droppedAge}
	if final && j.opts.overlap == Skip && j.opts.catchUp > 0 {
		// Those that were skipped were not missed. Without CatchUp nobody asks. A
		// panic of the schedule must not keep the tick from being marked.
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

// over says whether tick's run counts, now that fn is over. A lost lease can mean
// that another replica runs it again already. A run that Shutdown broke off is
// another replica's with Retry, and nobody's without.
func (j *job) over(ctx context.Context, failed error) bool {
	if guardLost(ctx) {
		return false
	}
	brokenOff := errors.Is(context.Cause(ctx), guard.ErrClosed) && failed != nil
	return !brokenOff || !j.opts.retry
}

// guardLost looks at the clocks first: Err does.
func guardLost(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), guard.ErrLost)
}
