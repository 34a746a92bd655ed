package cronwrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
)

// tenure is what one goroutine does under the key, from the grant to the release.
type tenure struct {
	job     *job
	slot    *slot
	asked   time.Time // for the key
	granted bool

	// The latest tick that was claimed.
	tick    time.Time
	owner   string
	err     error // of its run
	pending bool  // err was not reported
	calling bool  // fn has not returned
}

// work runs what is to run, the earliest first: once a later tick is claimed, an
// earlier one cannot be. It decides anew before each.
func (t *tenure) work(ctx context.Context) error {
	j := t.job
	_, exclusive := guard.Fence(ctx)
	if j.ticks != nil {
		j.shared.Store(!exclusive)
	}
	for {
		last, err := j.remembered(ctx)
		if err != nil {
			t.reportRun(t.err)
			return err
		}
		// Its end may not have been stored.
		last.Done = last.Done || last.Owner == t.owner && t.owner != ""
		p := j.decide(last, exclusive)
		j.settle(p.settled)
		switch {
		case len(p.run) == 0:
			j.caughtUp()
			return t.err
		case j.closing.Err() != nil && !t.tick.IsZero():
			return t.err
		case p.missed > 0 && !p.rerun && !t.slot.try():
			return errNoSlot
		}
		t.reportRun(t.err)
		more, err := t.take(ctx, p)
		if !more {
			return err
		}
	}
}

// take claims the first tick of p and runs it, and reports whether to go on.
func (t *tenure) take(ctx context.Context, p plan) (more bool, _ error) {
	j, tick := t.job, p.run[0]
	owner := j.guard.Store().NewOwner("")
	if j.ticks != nil {
		switch err := j.claim(ctx, owner, p); {
		case errors.Is(err, errUnrun):
			j.forget(tick)
			t.tick, t.owner, t.err, t.pending = tick, owner, err, true
			return false, err
		case errors.Is(err, errDealtWith), errors.Is(err, errUnfinished):
			pause(ctx, 1)
			return true, nil
		case err != nil:
			return false, err
		}
	}
	j.forget(tick)
	if p.dead {
		return t.bury(ctx, owner, p)
	}
	t.tick, t.owner, t.err, t.pending = tick, owner, nil, true
	t.run(ctx, p.attempt)
	if ctx.Err() != nil {
		return false, t.err
	}
	var after lease.Tick
	if j.ticks != nil {
		after = lease.Tick{At: tick, Done: true, Since: p.since}
	}
	p = j.decide(after, true)
	j.settle(p.settled)
	if len(p.run) > 0 {
		return true, nil
	}
	j.caughtUp()
	return false, t.err
}

// run calls fn for the tick, and tells the store that it is over: also if fn exits the
// goroutine.
func (t *tenure) run(ctx context.Context, attempt int) {
	j := t.job
	began := j.now()
	j.setRunning(began)
	t.calling = true
	defer func() {
		j.setRunning(time.Time{})
		j.spans = append(j.spans, span{began: began, ended: j.now()})
		if t.calling {
			t.err = errGoexit
		}
		j.ran(t.tick, began, t.err)
		t.end(ctx)
	}()
	t.err = j.call(ctx, t.tick, attempt)
	t.calling = false
}

// end tells the store how the run ended, unless the lease was lost: then another
// replica may run the tick again already. A run that Shutdown broke off is left to
// another replica under AtLeastOnce.
func (t *tenure) end(ctx context.Context) {
	j := t.job
	again := j.opts.again && t.err != nil && !t.calling && errors.Is(context.Cause(ctx), guard.ErrClosed)
	if j.ticks == nil || lost(ctx) {
		return
	}
	e := lease.TickEnd{Owner: t.owner, At: t.tick, Again: again}
	// A panic of the schedule must not keep the tick from being marked.
	err := caught(func() error { e.Through = j.opts.accounted(t.tick, j.spans, j.schedule); return nil })
	if err != nil {
		j.report(t.tick, err)
	}
	if err := j.end(ctx, e); err != nil && j.opts.again && !again {
		j.report(t.tick, fmt.Errorf("%w: the tick ran and could not be marked done; it may run again: %w", guard.ErrUnavailable, err))
	}
}

// bury marks a tick dead whose runs began too often.
func (t *tenure) bury(ctx context.Context, owner string, p plan) (more bool, _ error) {
	j, tick := t.job, p.run[0]
	if err := j.end(ctx, lease.TickEnd{Owner: owner, At: tick, Dead: true}); err != nil {
		return false, fmt.Errorf("%w: the tick could not be marked dead: %w", guard.ErrUnavailable, err)
	}
	j.report(tick, fmt.Errorf("%w: %d runs began, and none came to its end", ErrDead, p.attempt-1))
	return true, nil
}

// reportRun reports err of the tick that ran last.
func (t *tenure) reportRun(err error) {
	j := t.job
	quiet := !t.pending || err == nil || j.opts.again && errors.Is(err, errUnrun) && errors.Is(err, guard.ErrClosed)
	t.pending, t.err = false, nil
	if !quiet {
		j.report(t.tick, err)
	}
}

// conclude is called after the release, with the result of Do. It returns an error if
// ticks may still be due because of it.
func (t *tenure) conclude(err error) error {
	j := t.job
	lostKey := errors.Is(err, guard.ErrLost) || errors.Is(err, guard.ErrMaxHold)
	switch {
	case t.pending || !t.tick.IsZero() && lostKey:
		t.pending = true
		t.reportRun(err)
		if lostKey {
			j.later()
		}
		return nil
	case errors.Is(err, errNoSlot):
		return nil
	}
	return err
}

// exited reports a run that exited its goroutine.
func (t *tenure) exited() {
	if t.calling {
		t.reportRun(errGoexit)
	}
}
