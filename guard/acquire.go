package guard

import (
	"context"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/internal/engine/queue"
	"github.com/jobguard/jobguard/guard/lease"
)

// acquire returns a hold of key: the one ctx comes with, or a new one and the
// metadata that was sent with it.
func (g *Guard) acquire(ctx context.Context, op operation, key string, opt queue.Options) (_ *keep.Hold, metadata string, _ error) {
	h, err := g.inherit(ctx, op, key, opt)
	if h != nil || err != nil {
		return h, "", err
	}
	w := g.observeWish(ctx, key, opt)
	h, err = g.try(ctx, op, key, opt, w)
	w.over(h, err)
	return h, w.sent(), err
}

// inherit returns the hold of key that ctx comes with, nil if there is none.
// Nested runs thus follow the context, not the goroutine.
func (g *Guard) inherit(ctx context.Context, op operation, key string, opt queue.Options) (*keep.Hold, error) {
	if ctx.Err() != nil {
		return nil, &Error{Op: op.String(), Key: key, Kind: ctx.Err(), Err: whyNotRun(ctx)}
	}
	store := g.family.engine.Store()
	if h := held(ctx, store, key); h != nil {
		if !h.AtLeast(opt.Limit) {
			return nil, &Error{Op: op.String(), Key: key, Kind: ErrBusy, Err: errStricter}
		}
		if h.Share() {
			return h, nil
		}
	}
	for c := innermost(ctx); c != nil; c = c.outer() {
		for _, h := range c.holds() {
			if h.Key() == key && h.Store() == store {
				h.Surrender() // it is lost, or held would have found it
			}
		}
	}
	return nil, nil
}

// try asks the engine for key, on behalf of w if that is not nil.
func (g *Guard) try(ctx context.Context, op operation, key string, opt queue.Options, w *wish) (*keep.Hold, error) {
	if w != nil {
		opt.Metadata = w.metadata
	}
	h, seen, f := g.family.engine.Acquire(ctx, key, opt)
	if f != nil {
		w.tried(seen)
		return nil, refused(ctx, op, key, f)
	}
	w.tried(seen)
	return h, nil
}

// wish is a caller's wish for a key as observers see it: from before the first
// try until the key is granted, or will not be. It is nil without observers.
type wish struct {
	observers *observers
	ctx       context.Context // what they made of the caller's
	name, key string
	metadata  string
	began     time.Time
	seen      queue.Contention
}

// observeWish calls the observers' AcquireStart.
func (g *Guard) observeWish(ctx context.Context, key string, opt queue.Options) *wish {
	if len(g.opts.observers) == 0 {
		return nil
	}
	w := &wish{name: g.opts.name, key: key}
	w.ctx, w.observers = g.opts.observers.acquireStart(ctx, AcquireStart{Name: w.name, Key: key, TTL: opt.TTL, Wait: opt.Wait})
	w.metadata = w.observers.metadata(w.ctx)
	w.began = time.Now()
	return w
}

// tried adds one call of the engine.
func (w *wish) tried(seen queue.Contention) {
	if w == nil {
		return
	}
	w.seen.Attempts += seen.Attempts
	w.seen.Held = w.seen.Held || seen.Held
	if seen.Holder != "" {
		w.seen.Holder = seen.Holder
	}
}

// sent is what observers sent along.
func (w *wish) sent() string {
	if w == nil {
		return ""
	}
	return w.metadata
}

// over calls the observers' AcquireEnd: h was granted, or err came instead.
func (w *wish) over(h *keep.Hold, err error) {
	if w == nil {
		return
	}
	e := AcquireEnd{
		Name: w.name, Key: w.key, Waited: time.Since(w.began), Err: err, Attempts: w.seen.Attempts,
		Contended: w.seen.Held,
		Holder:    lease.OwnerName(w.seen.Holder), HolderMetadata: lease.Metadata(w.seen.Holder),
	}
	if h != nil {
		e.Fence = h.Fence
	}
	w.observers.acquireEnd(w.ctx, e)
}
