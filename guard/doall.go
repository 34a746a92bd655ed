package guard

import (
	"context"
	"errors"
	"slices"
	"strings"
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

// acquisition is a DoAll on its way to its keys.
type acquisition struct {
	guard *Guard
	op    string
	keys  []string // sorted
	opt   engine.Options

	began    time.Time
	deadline time.Time // zero without one

	// busy is the key out of order that kept the others from being had the last
	// time. It is tried first, so that they need not be taken and given back for it.
	busy string

	// asked has the keys that were tried in vain so far. To observers a key's tries
	// are one.
	asked map[string]*asking
}

// acquireAll acquires keys, which are sorted, starting over as often as it takes. It
// returns their holds, and what was sent along with each.
func (g *Guard) acquireAll(ctx context.Context, op string, keys []string) (_ []*engine.Hold, metadata []string, err error) {
	a := &acquisition{
		guard: g, op: op, keys: keys, opt: g.opts.engine(),
		began: time.Now(), asked: make(map[string]*asking),
	}
	if a.opt.Wait > 0 {
		a.deadline = a.began.Add(a.opt.Wait)
	}
	defer func() {
		for _, wish := range a.asked {
			wish.end(nil, err)
		}
	}()
	for round := 1; ; round++ {
		set, again, err := a.once(ctx)
		if err == nil {
			holds, metadata := set.take()
			return holds, metadata, nil
		}
		pause := engine.Backoff(round)
		if !again || a.opt.Wait == 0 || !a.deadline.IsZero() && time.Until(a.deadline) <= pause {
			return nil, nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, nil, &Error{Op: op, Key: keys[0], Kind: ctx.Err(), Err: errors.Join(context.Cause(ctx), err)}
		}
	}
}

// once goes through the keys once. When it fails it has given back what it
// acquired, and again tells whether starting over makes sense.
func (a *acquisition) once(ctx context.Context) (_ *keySet, again bool, _ error) {
	setCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	set := &keySet{cancel: cancel}
	last := lastHeld(ctx, a.guard)
	for _, key := range a.order() {
		each := a.opt
		inOrder := key >= last
		switch {
		case !inOrder:
			each.Wait = 0
		case !a.deadline.IsZero():
			each.Wait = max(0, time.Until(a.deadline))
		}
		h, metadata, err := a.acquire(ctx, setCtx, key, each)
		if err != nil {
			set.abandon()
			if ctx.Err() == nil && setCtx.Err() != nil {
				return nil, true, &Error{Op: a.op, Key: key, Kind: ErrBusy, Err: errEarlyLost}
			}
			if inOrder {
				return nil, false, err
			}
			a.busy = key
			// It is tried without waiting, so its hiccups are outwaited here too.
			hiccup := errors.Is(err, ErrUnavailable) && !errors.Is(err, lease.ErrRefused) && time.Since(a.began) < a.guard.opts.ttl
			return nil, errors.Is(err, ErrBusy) || hiccup, err
		}
		set.add(h, metadata)
	}
	if setCtx.Err() != nil && ctx.Err() == nil {
		set.abandon()
		return nil, true, &Error{Op: a.op, Key: a.keys[0], Kind: ErrBusy, Err: errEarlyLost}
	}
	return set, false, nil
}

// order is the keys as they are to be acquired: sorted, but for the busy one, which
// is only tried and so may come first.
func (a *acquisition) order() []string {
	i := slices.Index(a.keys, a.busy)
	if i <= 0 {
		return a.keys
	}
	return slices.Concat(a.keys[i:i+1], a.keys[:i], a.keys[i+1:])
}

// acquire is Guard.acquire for one key of the set, which setCtx breaks off. ctx is
// the caller's: observers hear of that alone.
func (a *acquisition) acquire(ctx, setCtx context.Context, key string, opt engine.Options) (_ *engine.Hold, metadata string, _ error) {
	h, err := a.guard.inherit(setCtx, a.op, key, opt)
	if h != nil || err != nil {
		return h, "", err
	}
	wish := a.asked[key]
	if wish == nil {
		wish = a.guard.ask(ctx, key, a.opt)
	}
	h, err = a.guard.try(setCtx, a.op, key, opt, wish)
	if err != nil {
		a.asked[key] = wish
		return nil, "", err
	}
	delete(a.asked, key)
	wish.end(h, nil)
	return h, wish.sent(), nil
}

// keySet is what a DoAll has acquired so far.
type keySet struct {
	acquired []acquired
	cancel   context.CancelCauseFunc
}

type acquired struct {
	hold     *engine.Hold
	metadata string // what was sent along
}

func (s *keySet) add(h *engine.Hold, metadata string) {
	s.acquired = append(s.acquired, acquired{h, metadata})
	h.Bind(s)
}

// Lost implements [engine.Bound].
func (s *keySet) Lost(*engine.Hold, *engine.Lost) { s.cancel(errEarlyLost) }

// take ends the set's watch over its holds and returns them, sorted by key.
func (s *keySet) take() (holds []*engine.Hold, metadata []string) {
	slices.SortFunc(s.acquired, func(a, b acquired) int { return strings.Compare(a.hold.Key(), b.hold.Key()) })
	for _, a := range s.acquired {
		a.hold.Unbind(s)
		holds, metadata = append(holds, a.hold), append(metadata, a.metadata)
	}
	return holds, metadata
}

// abandon gives everything back, the last first.
func (s *keySet) abandon() {
	holds, _ := s.take()
	for _, h := range slices.Backward(holds) {
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
