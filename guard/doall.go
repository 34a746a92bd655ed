package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/internal/engine/queue"
	"github.com/jobguard/jobguard/guard/internal/validkey"
)

// DoAll is [Guard.Do] under several keys. They are acquired in sorted order,
// duplicates dropped, so that calls with overlapping keys cannot deadlock. Keys
// that ctx holds already are not acquired again. A key that sorts before one
// that ctx holds is outside that order and refused with ErrOrder, before any key
// is asked for. Wait bounds the whole. No keys is an error.
//
// fn's context is cancelled when any of the leases is lost.
func (g *Guard) DoAll(ctx context.Context, keys []string, fn func(context.Context) error) error {
	mustHave(fn != nil)
	if len(keys) == 0 {
		return &Error{Op: opDoAll.String(), Kind: ErrInvalidKey, Err: errors.New("no keys")}
	}
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	for _, key := range keys {
		if err := validkey.Check(key); err != nil {
			return &Error{Op: opDoAll.String(), Key: key, Kind: ErrInvalidKey, Err: err}
		}
	}
	g.family.calls.Begin()
	defer g.family.calls.End()
	s := &keySet{guard: g, keys: keys, opt: g.opts.engine}
	holds, metadata, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	r := g.newRun(ctx, opDoAll, metadata, holds...)
	return r.call(fn).err
}

// errEarlyLost is why a set is started over: one of its first keys was lost
// while a later one was waited for.
var errEarlyLost = errors.New("an earlier key of the set was lost meanwhile")

// keySet is a DoAll on its way to its keys.
type keySet struct {
	guard *Guard
	keys  []string // sorted
	opt   queue.Options

	deadline time.Time        // zero without one
	wishes   map[string]*wish // of keys that were tried in vain; to observers a key's tries are one
}

// acquire acquires the keys, starting over as often as one of them is lost on the
// way. It returns their holds, and what was sent along with each.
func (s *keySet) acquire(ctx context.Context) (_ []*keep.Hold, metadata []string, err error) {
	if err := s.checkOrder(ctx); err != nil {
		return nil, nil, err
	}
	if s.opt.Wait > 0 {
		s.deadline = time.Now().Add(s.opt.Wait)
	}
	s.wishes = make(map[string]*wish)
	defer func() {
		for _, w := range s.wishes {
			w.over(nil, err)
		}
	}()
	for n := 1; ; n++ {
		r, again, err := s.once(ctx)
		if err == nil {
			return r.holds, r.metadata, nil
		}
		pause := backoff.Pause(n, firstPause, time.Second)
		if !again || s.opt.Wait == 0 || !s.deadline.IsZero() && time.Until(s.deadline) <= pause {
			return nil, nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, nil, &Error{Op: opDoAll.String(), Key: s.keys[0], Kind: ctx.Err(), Err: errors.Join(whyNotRun(ctx), err)}
		}
	}
}

// checkOrder refuses a key that sorts before one that ctx holds: another run may
// hold it and wait for that one.
func (s *keySet) checkOrder(ctx context.Context) error {
	store := s.guard.family.engine.Store()
	var last string
	innermost(ctx).find(func(h *keep.Hold) bool {
		if h.Store() == store && h.Key() > last && h.Live() {
			last = h.Key()
		}
		return false
	})
	for _, key := range s.keys {
		if key < last && held(ctx, store, key) == nil {
			return &Error{Op: opDoAll.String(), Key: key, Kind: ErrOrder, Err: fmt.Errorf("the context holds %s, which sorts after it: take all keys in one DoAll", quoted(last))}
		}
	}
	return nil
}

// once goes through the keys once. When it fails it has given back what it
// acquired, and again tells whether starting over makes sense.
func (s *keySet) once(ctx context.Context) (_ *round, again bool, err error) {
	roundCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &round{cancel: cancel}
	defer func() {
		r.unbind()
		if err != nil {
			r.abandon()
		}
	}()
	for _, key := range s.keys {
		opt := s.opt
		if !s.deadline.IsZero() {
			opt.Wait = max(0, time.Until(s.deadline))
		}
		h, metadata, err := s.acquireOne(ctx, roundCtx, key, opt)
		if h != nil {
			r.add(h, metadata)
		}
		if roundCtx.Err() != nil && ctx.Err() == nil {
			why := context.Cause(roundCtx)
			again := !errors.Is(why, ErrReplaced) // the latest wins
			return r, again, &Error{Op: opDoAll.String(), Key: key, Kind: ErrBusy, Err: why}
		}
		if err != nil {
			return r, false, err
		}
	}
	return r, false, nil
}

// acquireOne is Guard.acquire for one key of the set, which roundCtx breaks off.
// Observers see only ctx, the caller's, and one acquire for all rounds.
func (s *keySet) acquireOne(ctx, roundCtx context.Context, key string, opt queue.Options) (_ *keep.Hold, metadata string, _ error) {
	h, err := s.guard.inherit(roundCtx, opDoAll, key, opt)
	if h != nil || err != nil {
		return h, "", err
	}
	w := s.wishes[key]
	if w == nil {
		w = s.guard.observeWish(ctx, key, s.opt)
	}
	h, err = s.guard.try(roundCtx, opDoAll, key, opt, w)
	if err != nil {
		s.wishes[key] = w
		return nil, "", err
	}
	delete(s.wishes, key)
	w.over(h, nil)
	return h, w.sent(), nil
}

// round is what one pass over the keys has acquired.
type round struct {
	cancel   context.CancelCauseFunc // breaks the pass off
	holds    []*keep.Hold
	metadata []string // that was sent along, one for each hold
}

func (r *round) add(h *keep.Hold, metadata string) {
	r.holds, r.metadata = append(r.holds, h), append(r.metadata, metadata)
	h.Bind(r, false)
}

// Lost implements [keep.Listener].
func (r *round) Lost(_ *keep.Hold, why *keep.Lost) {
	if why.Reason == keep.Replaced {
		r.cancel(ErrReplaced)
		return
	}
	r.cancel(errEarlyLost)
}

// Happened implements [keep.Listener]. A round asks for no events.
func (r *round) Happened(*keep.Hold, keep.Event) {}

func (r *round) unbind() {
	for _, h := range r.holds {
		h.Unbind(r)
	}
}

// abandon gives everything back.
func (r *round) abandon() {
	endAll(r.holds, func(h *keep.Hold) *keep.Lost {
		h.Abandon()
		return nil
	})
}

// endAll ends holds side by side, each on a goroutine of its own, and returns what
// came of each when all have ended: it takes no longer than one release.
func endAll(holds []*keep.Hold, end func(*keep.Hold) *keep.Lost) []*keep.Lost {
	losses := make([]*keep.Lost, len(holds))
	var all sync.WaitGroup
	for i, h := range holds {
		all.Go(func() { losses[i] = end(h) })
	}
	all.Wait()
	return losses
}
