package guard

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine"
	"github.com/jobguard/jobguard/guard/lease"
)

// DoAll is [Guard.Do] under several keys. They are acquired in sorted order,
// duplicates dropped, so that calls with overlapping keys cannot deadlock. Keys
// that ctx holds already are not acquired again. A key that sorts before one
// that ctx holds is outside that order: it is never waited for while other keys
// are kept, but tried, and when busy everything acquired so far is given back
// before the next try. Wait bounds the whole. No keys is an error.
//
// fn's context is cancelled when any of the leases is lost.
func (g *Guard) DoAll(ctx context.Context, keys []string, fn func(context.Context) error) error {
	mustHave(fn != nil)
	if len(keys) == 0 {
		return &Error{Op: "doall", Kind: ErrInvalidKey, Err: errors.New("no keys")}
	}
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	return g.runAll(ctx, keys, fn).err
}

// errEarlyLost is why a set is started over: one of its first keys was lost
// while a later one was waited for.
var errEarlyLost = errors.New("an earlier key of the set was lost meanwhile")

// acquireAll acquires keys in order, starting over as often as it takes.
func (g *Guard) acquireAll(ctx context.Context, op string, keys []string) (*keySet, error) {
	opt := g.opts.engine()
	var deadline time.Time
	if opt.Wait > 0 {
		deadline = time.Now().Add(opt.Wait)
	}
	began := time.Now()
	for round := 1; ; round++ {
		set, again, err := g.acquireOnce(ctx, op, keys, opt, began, deadline)
		pause := engine.Backoff(round)
		if err == nil || !again || opt.Wait == 0 || !deadline.IsZero() && time.Until(deadline) <= pause {
			return set, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, &Error{Op: op, Key: keys[0], Kind: ctx.Err(), Err: errors.Join(context.Cause(ctx), err)}
		}
	}
}

// acquireOnce goes through keys once. When it fails it has given back what it
// acquired, and again tells whether starting over makes sense.
func (g *Guard) acquireOnce(ctx context.Context, op string, keys []string, opt engine.Options, began, deadline time.Time) (_ *keySet, again bool, _ error) {
	setCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	set := &keySet{cancel: cancel}
	last := lastHeld(ctx, g)
	for _, key := range keys {
		each := opt
		inOrder := key >= last
		switch {
		case !inOrder:
			each.Wait = 0
		case !deadline.IsZero():
			each.Wait = max(0, time.Until(deadline))
		}
		h, carrier, err := g.acquire(setCtx, op, key, each)
		if err != nil {
			set.abandon()
			if ctx.Err() == nil && setCtx.Err() != nil {
				return nil, true, &Error{Op: op, Key: key, Kind: ErrBusy, Err: errEarlyLost}
			}
			// A key out of order is tried without waiting, so its hiccups are
			// outwaited here too.
			hiccup := errors.Is(err, ErrUnavailable) && !errors.Is(err, lease.ErrRefused) && time.Since(began) < g.opts.ttl
			return nil, !inOrder && (errors.Is(err, ErrBusy) || hiccup), err
		}
		set.add(h, carrier)
	}
	if setCtx.Err() != nil && ctx.Err() == nil {
		set.abandon()
		return nil, true, &Error{Op: op, Key: keys[0], Kind: ErrBusy, Err: errEarlyLost}
	}
	set.take()
	return set, false, nil
}

// keySet is what a DoAll has acquired so far.
type keySet struct {
	holds    []*engine.Hold
	carriers []string // what was sent along with each
	cancel   context.CancelCauseFunc
}

func (s *keySet) add(h *engine.Hold, carrier string) {
	s.holds = append(s.holds, h)
	s.carriers = append(s.carriers, carrier)
	h.Bind(s)
}

// Lost implements [engine.Bound].
func (s *keySet) Lost(*engine.Hold, *engine.Lost) { s.cancel(errEarlyLost) }

// take ends the set's watch over its holds and returns them.
func (s *keySet) take() []*engine.Hold {
	for _, h := range s.holds {
		h.Unbind(s)
	}
	return s.holds
}

// abandon gives everything back, the last first.
func (s *keySet) abandon() {
	for _, h := range slices.Backward(s.take()) {
		h.Abandon()
	}
}

// lastHeld returns the greatest key that ctx holds in g's store, "" if none.
func lastHeld(ctx context.Context, g *Guard) (last string) {
	store := g.family.engine.Store()
	for c := innermost(ctx); c != nil; c = c.outer {
		for _, h := range c.holds {
			if h.Engine().Store() == store && h.Key() > last && h.Live() {
				last = h.Key()
			}
		}
	}
	return last
}
