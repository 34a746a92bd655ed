package guard

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine"
	"github.com/jobguard/jobguard/guard/lease"
)

// runCtx is the context that fn gets. It knows the leases of the run and, over
// outer, those of the runs around it.
type runCtx struct {
	context.Context // derived from the caller's; cancelled by cancel
	cancel          context.CancelCauseFunc

	guard *Guard
	op    string
	holds []*engine.Hold
	one   [1]*engine.Hold // holds' memory in the usual case
	outer *runCtx

	maxHold *time.Timer // nil without MaxHold
	tooLong atomic.Bool // MaxHold passed, and all leases are those of outer

	returned bool // fn did: it neither panicked nor called Goexit; of the goroutine that calls it

	observers *observers      // whom to tell; nil for nobody
	observed  context.Context // what they made of the caller's

	// Of the goroutine that calls fn.
	began  time.Duration // since epoch
	result               // err is fn's, until the release adds to it

	next, previous *runCtx // guarded by family.mu
}

type runKey struct{}

// innermost returns the innermost run that ctx comes from, nil if none.
func innermost(ctx context.Context) *runCtx {
	c, _ := ctx.Value(runKey{}).(*runCtx)
	return c
}

// bind derives c from ctx and binds it to holds.
func (c *runCtx) bind(ctx context.Context, holds []*engine.Hold) {
	c.Context, c.cancel = context.WithCancelCause(ctx)
	c.holds = append(c.one[:0], holds...)
	for _, h := range c.holds {
		h.Bind(c)
		if c.observers != nil && !c.outer.has(h) {
			h.Notify(c) // also of a loss before
		}
	}
}

// Lost implements [engine.Bound].
func (c *runCtx) Lost(h *engine.Hold, why *engine.Lost) { c.cancel(ended(c.op, h, why)) }

// Value finds the run itself, and else what the caller's context holds.
func (c *runCtx) Value(key any) any {
	if key == (runKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// Err looks at the clocks before it answers: a process that was stopped past
// the end of its lease learns of it here, before any timer has had its turn.
//
// A lost lease cancels every context below it before Err returns, even if it was
// another goroutine that found the loss and is just about to cancel, or in the
// midst of it: cancelling once more waits for that one to be done.
func (c *runCtx) Err() error {
	for r := c; r != nil; r = r.outer {
		for _, h := range r.holds {
			if h.Live() || c.Context.Err() != nil {
				continue
			}
			if lost := h.Cause(); lost != nil {
				r.cancel(ended(r.op, h, lost))
			}
		}
	}
	return c.Context.Err()
}

// end detaches the context from its leases and cancels it.
func (c *runCtx) end() {
	for _, h := range c.holds {
		h.Unbind(c)
	}
	c.cancel(nil)
}

// find returns the innermost live hold for which want says yes.
func find(ctx context.Context, want func(*engine.Hold) bool) *engine.Hold {
	for c := innermost(ctx); c != nil; c = c.outer {
		for _, h := range c.holds {
			if want(h) && h.Live() {
				return h
			}
		}
	}
	return nil
}

// held returns the live hold of key in store that ctx comes with.
func held(ctx context.Context, store lease.Store, key string) *engine.Hold {
	return find(ctx, func(h *engine.Hold) bool { return h.Key() == key && h.Engine().Store() == store })
}

// Fence returns the fencing token of the innermost run that ctx comes from.
// Tokens of a key only ever grow, so a resource that remembers the highest it
// has seen can refuse whoever held the key before. ok is false outside a run,
// when its lease is lost or over, under Limit or Shared, and when the run has
// several keys; see [FenceOf].
func Fence(ctx context.Context) (token int64, ok bool) {
	c := innermost(ctx)
	if c == nil || len(c.holds) != 1 || !c.holds[0].Exclusive() || !c.holds[0].Live() {
		return 0, false
	}
	return c.holds[0].Fence, true
}

// FenceOf returns the fencing token under which ctx's runs hold key, if one of
// them holds it exclusively.
func FenceOf(ctx context.Context, key string) (token int64, ok bool) {
	h := find(ctx, func(h *engine.Hold) bool { return h.Key() == key && h.Exclusive() })
	if h == nil {
		return 0, false
	}
	return h.Fence, true
}

// Holding reports whether one of the runs that ctx comes from holds key, by
// the clocks as they are now.
func Holding(ctx context.Context, key string) bool {
	return find(ctx, func(h *engine.Hold) bool { return h.Key() == key }) != nil
}

// Ensure makes sure that every lease under which ctx's runs go on is proven for at least
// d from now on, and renews those that are not, on the calling goroutine. Call
// it before a step that must not be interrupted. d can be at most TTL − Margin
// less a round trip. If it cannot be proven, the error is ErrLost with the
// cause; the context is cancelled only if the lease is really lost.
func Ensure(ctx context.Context, d time.Duration) error {
	c := innermost(ctx)
	if c == nil {
		return &Error{Op: "ensure", Kind: ErrLost, Err: errors.New("the context comes from no run")}
	}
	for r := c; r != nil; r = r.outer {
		for _, h := range r.holds {
			if r != c && h.Over() {
				continue // ctx was leaked out of that run
			}
			if err := ensure(ctx, h, d); err != nil {
				return err
			}
		}
	}
	return nil
}

func ensure(ctx context.Context, h *engine.Hold, d time.Duration) error {
	err := h.Ensure(ctx, d)
	left := h.TrustLeft()
	if left > 0 && left >= d {
		return nil
	}
	e := &Error{Op: "ensure", Key: h.Key(), Fence: h.Fence, Kind: ErrLost}
	switch lost := h.Cause(); {
	case lost != nil:
		e.Err = lost
	case err != nil:
		e.Err = fmt.Errorf("%v proven, %v wanted: %w", left, d, err)
	case left == 0:
		e.Err = errors.New("the run has ended")
	default:
		e.Err = fmt.Errorf("%v proven, %v wanted, with a TTL of %v", left, d, h.TTL())
	}
	return e
}
