package cronwrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/internal/panics"
)

// tenure is what one goroutine does under the key, from the grant to the release. Its
// fields are those of the latest tick that was claimed.
type tenure struct {
	*job
	granted bool
	tick    time.Time
	owner   string
	err     error // of its run
	pending bool  // err was not reported
	calling bool  // fn has not returned
}

// serve runs what is to run, the earliest first: once a later tick is claimed, an
// earlier one cannot be. It decides anew before each.
func (t *tenure) serve(ctx context.Context) error {
	_, exclusive := guard.Fence(ctx)
	if exclusive || ctx.Err() == nil { // a lost lease has no token either
		t.shared.Store(!exclusive)
	}
	for {
		last, err := t.remembered(ctx)
		if err != nil {
			t.tell(t.err)
			return err
		}
		last.Done = last.Done || t.owner != "" && last.Owner == t.owner // its end may not have been stored
		p := t.decide(last, exclusive)
		switch {
		case len(p.run) == 0:
			t.caughtUp()
			return t.err
		case t.closing.Err() != nil && !t.tick.IsZero():
			return t.err
		case p.missed > 0 && !p.rerun && !t.trySlot():
			return errNoSlot
		}
		t.tell(t.err)
		if more, err := t.take(ctx, p); !more {
			return err
		}
	}
}

// take claims the first tick of p and runs it, and reports whether to go on.
func (t *tenure) take(ctx context.Context, p plan) (more bool, _ error) {
	tick, owner := p.run[0], t.guard.Store().NewOwner("")
	switch err := t.claim(ctx, owner, p); {
	case errors.Is(err, errDealtWith), errors.Is(err, errUnfinished):
		pause(ctx, 1)
		return true, nil
	case err != nil && !errors.Is(err, errUnrun):
		return false, err
	case err == nil && p.dead:
		if err := t.sendEnd(ctx, lease.TickEnd{Owner: owner, At: tick, Dead: true}); err != nil {
			return false, fmt.Errorf("%w: the tick could not be marked dead: %w", guard.ErrUnavailable, err)
		}
		t.forget(tick)
		t.report(tick, fmt.Errorf("%w: %d runs began, and none came to its end", ErrDead, p.attempt-1))
		return true, nil
	default:
		t.forget(tick)
		t.tick, t.owner, t.err, t.pending = tick, owner, err, true
		if err == nil {
			t.run(ctx, p.attempt)
		}
	}
	if ctx.Err() != nil {
		return false, t.err
	}
	var after lease.Tick
	if t.ticks != nil {
		after = lease.Tick{At: tick, Done: true, Since: p.since}
	}
	if p = t.decide(after, true); len(p.run) > 0 {
		return true, nil
	}
	t.caughtUp()
	return false, t.err
}

// run calls fn for the tick, and tells the store that it is over: also if fn exits the
// goroutine.
func (t *tenure) run(ctx context.Context, attempt int) {
	began := t.now()
	t.locked(func() { t.running = began })
	t.calling, t.err = true, errGoexit // unless it returns
	defer func() {
		ended := t.now()
		t.spans = append(t.spans, span{began, ended})
		t.locked(func() {
			t.running, t.retries = time.Time{}, 0
			if s := &t.status; t.tick.After(s.Last) {
				s.Last = t.tick
			}
			t.status.Began, t.status.Duration, t.status.Err = began.In(t.tick.Location()), ended.Sub(began), t.err
		})
		if t.ticks != nil && !lost(ctx) { // else another replica may run the tick again already
			t.end(ctx)
		}
	}()
	t.err = t.call(ctx, t.tick, attempt)
	t.calling = false
}

// end tells the store that the run is over. One that Shutdown broke off is left to
// another replica under AtLeastOnce.
func (t *tenure) end(ctx context.Context) {
	e := lease.TickEnd{Owner: t.owner, At: t.tick}
	e.Again = t.opts.again && t.err != nil && !t.calling && errors.Is(context.Cause(ctx), guard.ErrClosed)
	// A panic of the schedule must not keep the tick from being marked.
	if err := panics.Call(func() error { e.Through = t.opts.accounted(t.tick, t.spans, t.schedule); return nil }); err != nil {
		t.report(t.tick, err)
	}
	if err := t.sendEnd(ctx, e); err != nil && t.opts.again && !e.Again {
		t.report(t.tick, fmt.Errorf("%w: the tick ran and could not be marked done; it may run again: %w", guard.ErrUnavailable, err))
	}
}

// tell reports err of the latest tick, once.
func (t *tenure) tell(err error) {
	left := t.opts.again && errors.Is(err, errUnrun) && errors.Is(err, guard.ErrClosed) // to another replica
	if t.pending && err != nil && !left {
		t.report(t.tick, err)
	}
	t.pending, t.err = false, nil
}

// conclude is called after the release, with the result of Do, which joins a loss with
// the result of the latest run. It returns an error that ticks may still wait for.
func (t *tenure) conclude(err error) error {
	stopped := errors.Is(err, guard.ErrRevoked) || errors.Is(err, guard.ErrReplaced)
	lost := stopped || errors.Is(err, guard.ErrLost) || errors.Is(err, guard.ErrMaxHold)
	switch {
	case t.pending, !t.tick.IsZero() && lost:
		t.pending = true
		t.tell(err)
		if lost {
			t.later()
		}
		return nil
	case errors.Is(err, errNoSlot):
		return nil
	}
	return err
}
