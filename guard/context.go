package guard

import (
	"context"
	"slices"

	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/lease"
)

// runCtx is the context that fn gets. It knows the leases of its run and, over
// outer, those of the runs around it.
type runCtx struct {
	context.Context // derived from the caller's; cancelled by cancel
	cancel          context.CancelCauseFunc

	one  [1]*keep.Hold // the lease; of several the first
	rare *rare         // nil: all zero; not changed once fn's context is known to others
}

// rare is what most runs do not have.
type rare struct {
	op        operation
	observers *observers   // if not all of the guard's: those that see the run
	outer     *runCtx      // the run around it
	several   []*keep.Hold // nil with one lease
	maxHold   maxHold
}

// seldom returns c.rare, to be written to.
func (c *runCtx) seldom() *rare {
	if c.rare == nil {
		c.rare = new(rare)
	}
	return c.rare
}

// op is the operation that c is a run of.
func (c *runCtx) op() operation {
	if c.rare == nil {
		return opDo
	}
	return c.rare.op
}

// outer is the run around c; nil if there is none.
func (c *runCtx) outer() *runCtx {
	if c.rare == nil {
		return nil
	}
	return c.rare.outer
}

type runKey struct{}

// innermost returns the context of the innermost run that ctx comes from, nil if
// there is none.
func innermost(ctx context.Context) *runCtx {
	c, _ := ctx.Value(runKey{}).(*runCtx)
	return c
}

// derive makes c a child of ctx that knows holds.
func (c *runCtx) derive(ctx context.Context, holds []*keep.Hold) {
	if outer := innermost(ctx); outer != nil {
		c.seldom().outer = outer
	}
	c.Context, c.cancel = context.WithCancelCause(ctx)
	if c.one[0] = holds[0]; len(holds) > 1 {
		c.seldom().several = slices.Clone(holds)
	}
}

// holds are the leases of the run.
func (c *runCtx) holds() []*keep.Hold {
	if c.rare != nil && c.rare.several != nil {
		return c.rare.several
	}
	return c.one[:]
}

// Value finds the run itself, and else what the caller's context holds.
func (c *runCtx) Value(key any) any {
	if key == (runKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// Err looks at the clocks before it answers: a process that was stopped past
// the end of its lease sees the loss here, before any timer has had its turn.
//
// A lost lease cancels every context below it before Err returns, even if another
// goroutine found the loss and is just about to cancel, or doing so: cancelling
// once more waits for that one.
func (c *runCtx) Err() error {
	for r := c; r != nil; r = r.outer() {
		for _, h := range r.holds() {
			if h.Live() || c.Context.Err() != nil {
				continue
			}
			if why := h.Cause(); why != nil {
				r.cancel(lost(r.op(), h, why))
			}
		}
	}
	return c.Context.Err()
}

// has reports whether c, or a run around it, goes on under h.
func (c *runCtx) has(h *keep.Hold) bool {
	return c.find(func(own *keep.Hold) bool { return own == h }) != nil
}

// find returns the innermost hold of c and the runs around it for which want
// says yes.
func (c *runCtx) find(want func(*keep.Hold) bool) *keep.Hold {
	for ; c != nil; c = c.outer() {
		for _, h := range c.holds() {
			if want(h) {
				return h
			}
		}
	}
	return nil
}

// held returns the live hold of key in store that ctx comes with.
func held(ctx context.Context, store lease.Store, key string) *keep.Hold {
	return innermost(ctx).find(func(h *keep.Hold) bool { return h.Key() == key && h.Store() == store && h.Live() })
}

// heldAround reports whether a run around ctx holds key under the owner id
// holder. Reaching the store to learn it, it was not the same Store value.
func heldAround(ctx context.Context, key, holder string) bool {
	return innermost(ctx).find(func(h *keep.Hold) bool { return h.Key() == key && h.Owner() == holder && h.Live() }) != nil
}
