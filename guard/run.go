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

// run acquires key, calls fn, and releases.
//
// What it keeps on the stack while fn runs is little, here and in call: a service
// may have very many runs under way, and Go gives back a stack only by halves.
func (g *Guard) run(ctx context.Context, op, key string, fn func(context.Context) error) result {
	g.family.begin()
	defer g.family.finish()
	c, err := g.enter(ctx, op, key)
	if err != nil {
		return result{err: err}
	}
	c.call(fn)
	return c.result
}

func (g *Guard) enter(ctx context.Context, op, key string) (*runCtx, error) {
	if err := checkKey(key); err != nil {
		return nil, &Error{Op: op, Key: key, Kind: ErrInvalidKey, Err: err}
	}
	h, carrier, err := g.acquire(ctx, op, key, g.opts.engine())
	if err != nil {
		return nil, err
	}
	var carriers []string
	if carrier != "" {
		carriers = []string{carrier}
	}
	return g.begin(ctx, op, carriers, h), nil
}

// runAll is run for several keys, which are sorted and distinct.
func (g *Guard) runAll(ctx context.Context, keys []string, fn func(context.Context) error) result {
	const op = "doall"
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return result{err: &Error{Op: op, Key: key, Kind: ErrInvalidKey, Err: err}}
		}
	}
	g.family.begin()
	defer g.family.finish()
	set, err := g.acquireAll(ctx, op, keys)
	if err != nil {
		return result{err: err}
	}
	c := g.begin(ctx, op, set.carriers, set.holds...)
	c.call(fn)
	return c.result
}

// errStronger is why a nested run is refused that would wait for the run around it.
var errStronger = errors.New("the context holds the key with Shared or a Limit; a stricter run inside would wait for it for ever")

// acquire returns a hold of key: the one ctx comes with, or a new one and what
// was sent along with it. Nested runs thus follow the context, not the goroutine.
func (g *Guard) acquire(ctx context.Context, op, key string, opt engine.Options) (_ *engine.Hold, carrier string, _ error) {
	if ctx.Err() != nil {
		e := &Error{Op: op, Key: key, Kind: ctx.Err()}
		if cause := context.Cause(ctx); !errors.Is(e.Kind, cause) {
			e.Err = cause
		}
		return nil, "", e
	}
	if h := held(ctx, g.family.engine.Store(), key); h != nil {
		if !h.AtLeast(opt.Room) {
			return nil, "", &Error{Op: op, Key: key, Kind: ErrBusy, Err: errStronger}
		}
		if h.Share() {
			return h, "", nil
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
		opt.Saw = new(engine.Sighting)
	}
	began := time.Now()
	h, f := g.family.engine.Acquire(ctx, key, opt)
	var err error
	if f != nil {
		err = refused(op, key, f)
	}
	if len(obs) > 0 {
		end := AcquireEnd{
			Name: g.opts.name, Key: key, Waited: time.Since(began), Err: err,
			Contended: opt.Saw.Held,
			Holder:    lease.OwnerName(opt.Saw.Holder), HolderCarrier: lease.Carrier(opt.Saw.Holder),
		}
		if f != nil {
			end.Attempts = f.Attempts
		} else {
			end.Attempts, end.Fence = h.Attempts, h.Fence
		}
		obs.acquireEnd(ctx, end)
	}
	return h, opt.Carrier, err
}

// epoch is what runs count their time from.
var epoch = time.Now()

// begin prepares the run of a function under holds, with which carriers were sent.
func (g *Guard) begin(ctx context.Context, op string, carriers []string, holds ...*engine.Hold) *runCtx {
	began := time.Since(epoch)
	var observed context.Context
	if obs := g.observersOf(ctx, holds); len(obs) > 0 {
		start := RunStart{Name: g.opts.name, TTL: g.opts.ttl, Carriers: carriers}
		for _, h := range holds {
			start.Keys = append(start.Keys, h.Key())
			start.Fences = append(start.Fences, h.Fence)
		}
		ctx = obs.runStart(ctx, start)
		observed = ctx
	}
	c := &runCtx{guard: g, op: op, began: began, observed: observed, outer: innermost(ctx)}
	c.bind(ctx, holds)
	g.family.enter(c)
	c.armMaxHold(g.opts.maxHold)
	return c
}

// call runs fn, and ends the run however fn ends: return, panic and Goexit
// alike. The latter two go on from here.
func (c *runCtx) call(fn func(context.Context) error) {
	defer c.finish()
	c.err = fn(c)
	c.returned = true
}

func (c *runCtx) finish() {
	took := time.Since(epoch) - c.began
	if c.maxHold != nil {
		c.maxHold.Stop()
	}
	c.guard.family.leave(c)
	c.ran, c.kept = true, true
	if err := c.release(); err != nil {
		c.err, c.kept = err, false
	}
	if c.observed != nil {
		c.report(took)
	}
}

// report tells the observers of the run's end.
func (c *runCtx) report(took time.Duration) {
	end := RunEnd{Name: c.guard.opts.name, Held: took, Panicked: !c.returned}
	for _, h := range c.holds {
		if !c.outer.has(h) {
			h.Mute() // a nested run may keep the hold longer than this one
		}
	}
	for _, h := range c.holds {
		end.Keys = append(end.Keys, h.Key())
		end.Renewals += h.Renewals()
	}
	if c.returned {
		end.Err = c.err
	}
	c.guard.opts.observers.runEnd(c.observed, end)
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

// armMaxHold ends c's leases when d has passed; 0 means never. A nested run ends
// only itself: the lease belongs to the run around it.
func (c *runCtx) armMaxHold(d time.Duration) {
	if d == 0 {
		return
	}
	c.maxHold = time.AfterFunc(d, func() {
		c.tooLong.Store(true)
		for _, h := range c.holds {
			if !c.outer.has(h) {
				h.StopRenewing()
			}
		}
		c.cancel(&Error{Op: c.op, Key: c.holds[0].Key(), Fence: c.holds[0].Fence, Kind: ErrMaxHold})
	})
}

// release ends c and its holds, and returns why the run was not under its
// leases to its end, joined with fn's error; nil if it was.
func (c *runCtx) release() error {
	tooLong := c.tooLong.Load()
	c.end()
	var err *Error
	for _, h := range slices.Backward(c.holds) {
		if lost := h.End(); lost != nil && (err == nil || errors.Is(lost, ErrLost)) {
			err = ended(c.op, h, lost)
		}
	}
	if err == nil && tooLong {
		h := c.holds[0]
		err = &Error{Op: c.op, Key: h.Key(), Fence: h.Fence, Kind: ErrMaxHold}
	}
	if err == nil {
		return nil
	}
	err.Err = errors.Join(err.Err, c.err)
	return err
}
