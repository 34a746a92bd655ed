package cronwrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/lease"
)

var (
	errUnfinished = errors.New("an earlier tick was claimed and is not done") // look again
	errUnrun      = errors.New("the tick was claimed, or may have been, and did not run")
)

// attemptTimeout bounds one call of the store about ticks, and is how long a tick waits
// for a store that fails.
const attemptTimeout = 2 * time.Second

// pause waits after the n-th failure of the store in a row. It ends early with ctx.
func pause(ctx context.Context, n int) {
	_ = backoff.Sleep(ctx, backoff.Pause(n, 10*time.Millisecond, 250*time.Millisecond)) // callers look at ctx
}

// remembered returns the tick that the store remembers; none with MutualExclusion.
func (j *job) remembered(ctx context.Context) (last lease.Tick, err error) {
	if j.ticks == nil {
		return lease.Tick{}, nil
	}
	bounded, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if last, err = j.ticks.LastTick(bounded, j.name); err != nil {
		return last, fmt.Errorf("%w: the last tick could not be read: %w", guard.ErrUnavailable, err)
	}
	j.saw(last)
	return last, nil
}

// claim claims the first tick of p, and repeats the request while the key is held if
// there is no reply: a second claim by the same owner is granted again. It comes
// before fn, so a tick runs at most once.
func (j *job) claim(ctx context.Context, owner string, p plan) error {
	if j.ticks == nil {
		return nil
	}
	fence, exclusive := guard.Fence(ctx)
	r := lease.TickRequest{
		Key: j.name, Owner: owner, At: p.run[0], MaxAhead: j.Runner.opts.maxSkew,
		Rerun: j.opts.again && exclusive, Fence: fence, Gap: p.gap,
	}
	for n := 1; ctx.Err() == nil; n++ {
		bounded, cancel := context.WithTimeout(ctx, attemptTimeout)
		reply, err := j.ticks.ClaimTick(bounded, r)
		cancel()
		switch {
		case err == nil && reply.Claimed && ctx.Err() == nil:
			return nil
		case err == nil && !reply.Claimed:
			return refused(r, reply, p.rerun)
		case errors.Is(err, lease.ErrRefused):
			return fmt.Errorf("%w: the tick could not be claimed: %w", guard.ErrUnavailable, err)
		}
		pause(ctx, n)
	}
	// Also if it was claimed: the key may be lost by now.
	return fmt.Errorf("%w: %w", errUnrun, context.Cause(ctx))
}

func refused(r lease.TickRequest, reply lease.TickReply, rerun bool) error {
	switch {
	case reply.Ahead > 0:
		return fmt.Errorf("%w: by %v", ErrSkew, reply.Ahead)
	case !reply.Last.At.Before(r.At) && !rerun:
		return errDealtWith
	case r.Fence > 0 && reply.Last.Fence > r.Fence:
		return fmt.Errorf("%w: the next holder has claimed a tick", guard.ErrLost)
	}
	return errUnfinished
}

// sendEnd tells the store how a tick ended, while the key is held.
func (j *job) sendEnd(ctx context.Context, e lease.TickEnd) error {
	e.Key, e.Settled = j.name, grace
	for n := 1; ; n++ {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout/2)
		_, err := j.ticks.EndTick(bounded, e)
		cancel()
		if err == nil || lost(ctx) || n == 3 || e.Again {
			return err
		}
	}
}

// lost reports a lost lease. ctx.Err compares the clocks first, so it is called before
// Cause.
func lost(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), guard.ErrLost)
}
