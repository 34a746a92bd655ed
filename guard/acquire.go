package guard

import (
	"context"
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine"
	"github.com/jobguard/jobguard/guard/lease"
)

// errStronger is why a nested run is refused that would wait for the run around it.
var errStronger = errors.New("the context holds the key with Shared or a Limit; a stricter run inside would wait for it for ever")

// acquire returns a hold of key: the one ctx comes with, or a new one and what
// was sent along with it.
func (g *Guard) acquire(ctx context.Context, op, key string, opt engine.Options) (_ *engine.Hold, metadata string, _ error) {
	h, err := g.inherit(ctx, op, key, opt)
	if h != nil || err != nil {
		return h, "", err
	}
	a := g.ask(ctx, key, opt)
	h, err = g.try(ctx, op, key, opt, a)
	a.end(h, err)
	return h, a.sent(), err
}

// inherit returns the hold of key that ctx comes with, nil if there is none.
// Nested runs thus follow the context, not the goroutine.
func (g *Guard) inherit(ctx context.Context, op, key string, opt engine.Options) (*engine.Hold, error) {
	if ctx.Err() != nil {
		e := &Error{Op: op, Key: key, Kind: ctx.Err()}
		if cause := context.Cause(ctx); !errors.Is(e.Kind, cause) {
			e.Err = cause
		}
		return nil, e
	}
	if h := held(ctx, g.family.engine.Store(), key); h != nil {
		if !h.AtLeast(opt.Limit) {
			return nil, &Error{Op: op, Key: key, Kind: ErrBusy, Err: errStronger}
		}
		if h.Share() {
			return h, nil
		}
	}
	for c := innermost(ctx); c != nil; c = c.outer {
		for _, h := range c.holds {
			if h.Key() == key && h.Engine().Store() == g.family.engine.Store() {
				h.Surrender() // it is lost, or held would have found it
			}
		}
	}
	return nil, nil
}

// try asks the engine for key, on behalf of a if that is not nil.
func (g *Guard) try(ctx context.Context, op, key string, opt engine.Options, a *asking) (*engine.Hold, error) {
	if a != nil {
		opt.Metadata, opt.Saw = a.metadata, &a.saw
	}
	h, f := g.family.engine.Acquire(ctx, key, opt)
	if f != nil {
		a.count(f.Attempts)
		return nil, refused(op, key, f)
	}
	a.count(int(h.Attempts))
	return h, nil
}

// asking is a caller's wish for a key as observers see it: from before the first
// try until the key is there, or will not be. It is nil if nobody observes.
type asking struct {
	observers *observers
	ctx       context.Context // what they made of the caller's
	name, key string
	metadata  string
	began     time.Time
	attempts  int
	saw       engine.Sighting
}

// ask tells the observers that key is asked for.
func (g *Guard) ask(ctx context.Context, key string, opt engine.Options) *asking {
	if len(g.opts.observers) == 0 {
		return nil
	}
	a := &asking{name: g.opts.name, key: key}
	a.ctx, a.observers = g.opts.observers.acquireStart(ctx, AcquireStart{Name: a.name, Key: key, TTL: opt.TTL, Wait: opt.Wait})
	a.metadata = a.observers.metadata(a.ctx)
	a.began = time.Now()
	return a
}

func (a *asking) count(attempts int) {
	if a != nil {
		a.attempts += attempts
	}
}

// sent is what observers sent along.
func (a *asking) sent() string {
	if a == nil {
		return ""
	}
	return a.metadata
}

// end tells the observers that h was granted, or err came instead.
func (a *asking) end(h *engine.Hold, err error) {
	if a == nil {
		return
	}
	e := AcquireEnd{
		Name: a.name, Key: a.key, Waited: time.Since(a.began), Err: err, Attempts: a.attempts,
		Contended: a.saw.Held,
		Holder:    lease.OwnerName(a.saw.Holder), HolderMetadata: lease.Metadata(a.saw.Holder),
	}
	if h != nil {
		e.Fence = h.Fence
	}
	a.observers.acquireEnd(a.ctx, e)
}
