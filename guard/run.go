package guard

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine"
	"github.com/jobguard/jobguard/guard/lease"
)

// result is what came of a run.
type result struct {
	err error
	ran bool // fn was called
	// kept: the leases lasted until fn returned, so err is fn's own.
	kept bool
}

// run acquires keys, which are sorted and distinct, calls fn, and releases.
func (g *Guard) run(ctx context.Context, op string, keys []string, fn func(context.Context) error) result {
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return result{err: &Error{Op: op, Key: key, Kind: ErrInvalidKey, Err: err}}
		}
	}
	g.family.begin()
	defer g.family.finish()
	var holds []*engine.Hold
	var err error
	if len(keys) == 1 {
		var one [1]*engine.Hold
		if one[0], err = g.acquire(ctx, op, keys[0], g.opts.engine()); err == nil {
			holds = one[:]
		}
	} else {
		holds, err = g.acquireAll(ctx, op, keys)
	}
	if err != nil {
		return result{err: err}
	}
	return g.call(ctx, op, keys, holds, fn)
}

// errStronger is why a nested run is refused that would wait for the run around it.
var errStronger = errors.New("the context holds the key with Shared or a Limit; a stricter run inside would wait for it for ever")

// acquire returns a hold of key: the one ctx comes with, or a new one. Nested
// runs thus follow the context, not the goroutine.
func (g *Guard) acquire(ctx context.Context, op, key string, opt engine.Options) (*engine.Hold, error) {
	if ctx.Err() != nil {
		e := &Error{Op: op, Key: key, Kind: ctx.Err()}
		if cause := context.Cause(ctx); !errors.Is(e.Kind, cause) {
			e.Err = cause
		}
		return nil, e
	}
	if h := held(ctx, g.family.engine.Store(), key); h != nil {
		if !h.AtLeast(opt.Room) {
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
	obs := g.opts.observers
	if len(obs) > 0 {
		ctx = obs.acquireStart(ctx, AcquireStart{Name: g.opts.name, Key: key, TTL: opt.TTL, Wait: opt.Wait})
		opt.Carrier = obs.carrier(ctx)
	}
	began := time.Now()
	h, f := g.family.engine.Acquire(ctx, key, opt)
	var err error
	if f != nil {
		err = refused(op, key, f)
	}
	if len(obs) > 0 {
		end := AcquireEnd{Name: g.opts.name, Key: key, Waited: time.Since(began), Err: err}
		if f != nil {
			end.Attempts = f.Attempts
			end.Holder, end.HolderCarrier = lease.OwnerName(f.Holder), lease.Carrier(f.Holder)
		} else {
			end.Attempts, end.Fence = h.Attempts, h.Fence
		}
		obs.acquireEnd(ctx, end)
	}
	return h, err
}

// call runs fn under holds and releases them, however fn ends.
func (g *Guard) call(ctx context.Context, op string, keys []string, holds []*engine.Hold, fn func(context.Context) error) (res result) {
	began := time.Now()
	obs := g.observersOf(ctx, holds)
	if len(obs) > 0 {
		fences := make([]int64, len(holds))
		for i, h := range holds {
			fences[i] = h.Fence
		}
		ctx = obs.runStart(ctx, RunStart{Name: g.opts.name, Keys: keys, Fences: fences, TTL: g.opts.ttl})
		for _, h := range holds {
			if !innermost(ctx).has(h) {
				g.watch(ctx, h)
			}
		}
	}
	c := newRunCtx(ctx, op, holds)
	g.family.enter(c)
	stopMaxHold := g.armMaxHold(op, c)

	var fnErr error
	returned := false
	defer func() {
		// Reached by return, panic and Goexit alike; the latter two go on from here.
		took := time.Since(began)
		stopMaxHold()
		g.family.leave(c)
		res = result{err: fnErr, ran: true, kept: true}
		if err := release(op, c, fnErr); err != nil {
			res.err, res.kept = err, false
		}
		if len(obs) > 0 {
			for _, h := range holds {
				if !c.outer.has(h) {
					h.Mute() // a nested run may keep the hold longer than this one
				}
			}
			end := RunEnd{Name: g.opts.name, Keys: keys, Held: took, Panicked: !returned}
			for _, h := range holds {
				end.Renewals += h.Renewals()
			}
			if returned {
				end.Err = res.err
			}
			obs.runEnd(ctx, end)
		}
	}()
	fnErr = fn(c)
	returned = true
	return res
}

// observersOf returns whom to tell of a run: nobody if all its leases belong to
// the runs around it.
func (g *Guard) observersOf(ctx context.Context, holds []*engine.Hold) observers {
	if len(g.opts.observers) == 0 {
		return nil
	}
	outer := innermost(ctx)
	for _, h := range holds {
		if !outer.has(h) {
			return g.opts.observers
		}
	}
	return nil
}

func (c *runCtx) has(h *engine.Hold) bool {
	for ; c != nil; c = c.outer {
		if slices.Contains(c.holds, h) {
			return true
		}
	}
	return false
}

// armMaxHold ends c's leases when MaxHold has passed. A nested run ends only
// itself: the lease belongs to the run around it.
func (g *Guard) armMaxHold(op string, c *runCtx) (stop func()) {
	if g.opts.maxHold == 0 {
		return func() {}
	}
	t := time.AfterFunc(g.opts.maxHold, func() {
		c.tooLong.Store(true)
		for _, h := range c.holds {
			if !c.outer.has(h) {
				h.StopRenewing()
			}
		}
		c.cancel(&Error{Op: op, Key: c.holds[0].Key(), Fence: c.holds[0].Fence, Kind: ErrMaxHold})
	})
	return func() { t.Stop() }
}

// release ends c and its holds, and returns why the run was not under its
// leases to its end, joined with fn's error; nil if it was.
func release(op string, c *runCtx, fnErr error) error {
	tooLong := c.tooLong.Load()
	c.end()
	var err *Error
	for _, h := range slices.Backward(c.holds) {
		if lost := h.End(); lost != nil && (err == nil || errors.Is(lost, ErrLost)) {
			err = ended(op, h, lost)
		}
	}
	if err == nil && tooLong {
		h := c.holds[0]
		err = &Error{Op: op, Key: h.Key(), Fence: h.Fence, Kind: ErrMaxHold}
	}
	if err == nil {
		return nil
	}
	err.Err = errors.Join(err.Err, fnErr)
	return err
}
