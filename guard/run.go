package guard

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine"
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
	h, text, err := g.acquire(ctx, op, key, g.opts.engine())
	if err != nil {
		return nil, err
	}
	var metadata []string
	if text != "" {
		metadata = []string{text}
	}
	return g.begin(ctx, op, metadata, h), nil
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
	holds, metadata, err := g.acquireAll(ctx, op, keys)
	if err != nil {
		return result{err: err}
	}
	c := g.begin(ctx, op, metadata, holds...)
	c.call(fn)
	return c.result
}

// epoch is what runs count their time from.
var epoch = time.Now()

// begin prepares the run of a function under holds, with which metadata were sent.
func (g *Guard) begin(ctx context.Context, op string, metadata []string, holds ...*engine.Hold) *runCtx {
	began := time.Since(epoch)
	var observed context.Context
	obs := g.observersOf(ctx, holds)
	if obs != nil {
		start := RunStart{Name: g.opts.name, TTL: g.opts.ttl, Metadata: metadata}
		for _, h := range holds {
			start.Keys = append(start.Keys, h.Key())
			start.Tokens = append(start.Tokens, h.Fence)
		}
		ctx, obs = obs.runStart(ctx, start)
		observed = ctx
	}
	c := &runCtx{guard: g, op: op, began: began, observers: obs, observed: observed, outer: innermost(ctx)}
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
	lost, err := c.release()
	if err != nil {
		c.err, c.kept = err, false
	}
	if c.observers != nil {
		c.report(took, lost)
	}
}

// report tells the observers of the run's end.
func (c *runCtx) report(took time.Duration, lost string) {
	end := RunEnd{Name: c.guard.opts.name, Held: took, Panicked: !c.returned, Lost: lost}
	released := engine.ReleaseDone
	for _, h := range c.holds {
		if !c.outer.has(h) {
			h.Mute() // a nested run may keep the hold longer than this one
			released = max(released, h.Released())
		}
	}
	end.Release = releases[released]
	for _, h := range c.holds {
		end.Keys = append(end.Keys, h.Key())
		end.Renewals += h.Renewals()
	}
	if c.returned {
		end.Err = c.err
	}
	c.observers.runEnd(c.observed, end)
}

// observersOf returns whom to tell of a run: nobody, nil, if all its leases belong
// to the runs around it.
func (g *Guard) observersOf(ctx context.Context, holds []*engine.Hold) *observers {
	if len(g.opts.observers) == 0 {
		return nil
	}
	outer := innermost(ctx)
	for _, h := range holds {
		if !outer.has(h) {
			return &g.opts.observers
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

// armMaxHold ends c's leases when d has passed, and with them c; 0 means never. If
// they have been given back by then, fn was in time. A run that has only leases of
// the runs around it ends by itself: they are not its to end.
func (c *runCtx) armMaxHold(d time.Duration) {
	if d == 0 {
		return
	}
	c.maxHold = time.AfterFunc(d, func() {
		nested := true
		for _, h := range c.holds {
			if !c.outer.has(h) {
				nested = false
				h.StopRenewing()
			}
		}
		if nested {
			c.tooLong.Store(true)
			c.cancel(c.tooLongError())
		}
	})
}

func (c *runCtx) tooLongError() *Error {
	h := c.holds[0]
	return &Error{Op: c.op, Key: h.Key(), Fence: h.Fence, Kind: ErrMaxHold}
}

// release ends c and its holds. It returns why the run was not under its leases to
// its end, in a word and joined with fn's error; "" and nil if it was.
func (c *runCtx) release() (lost string, _ error) {
	tooLong := c.tooLong.Load()
	c.end()
	var err *Error
	for _, h := range slices.Backward(c.holds) {
		if why := h.End(); why != nil && (err == nil || errors.Is(why, ErrLost)) {
			err, lost = ended(c.op, h, why), reasonOf(why)
		}
	}
	if err == nil && tooLong {
		err, lost = c.tooLongError(), LostMaxHold
	}
	if err == nil {
		return "", nil
	}
	// What ctx was cancelled with says nothing new if fn returned just that.
	if own, ok := c.err.(*Error); !ok || own.Kind != err.Kind || own.Key != err.Key { //nolint:errorlint // not one that is wrapped
		err.Err = errors.Join(err.Err, c.err)
	}
	return lost, err
}
