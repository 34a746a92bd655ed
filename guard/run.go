package guard

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/internal/validkey"
	"github.com/jobguard/jobguard/guard/lease"
)

// run is one call of fn under its leases. Its fields belong to the goroutine that
// calls fn, except where said.
type run struct {
	runCtx // what fn gets

	guard *Guard
	began time.Duration // since epoch
	result

	observers *observers      // nil for none
	observed  context.Context // what they made of the caller's

	maxHold *maxHold // nil without MaxHold

	next, previous *run // guarded by family.mu
}

// maxHold ends a run that takes too long.
type maxHold struct {
	timer  *time.Timer
	passed atomic.Bool // and all leases are those of outer; set by the timer
}

// result is what came of a run.
type result struct {
	err      error // fn's, until the release adds to it
	ran      bool  // fn was called
	returned bool  // fn did: it neither panicked nor called Goexit
	kept     bool  // the leases lasted until fn returned, so err is fn's own
}

// epoch is what runs count their time from.
var epoch = time.Now()

// do acquires key, calls fn, and releases.
//
// Little is kept on the stack while fn runs, here and in call: a service may have
// very many runs under way, and Go shrinks a stack only by halves.
func (g *Guard) do(ctx context.Context, op operation, key string, fn func(context.Context) error) result {
	g.family.calls.Begin()
	defer g.family.calls.End()
	r, err := g.prepare(ctx, op, key)
	if err != nil {
		return result{err: err}
	}
	r.call(fn)
	return r.result
}

// prepare acquires key and makes a run under it.
func (g *Guard) prepare(ctx context.Context, op operation, key string) (*run, error) {
	if err := validkey.Check(key); err != nil {
		return nil, &Error{Op: op.String(), Key: key, Kind: ErrInvalidKey, Err: err}
	}
	h, text, err := g.acquire(ctx, op, key, g.opts.engine)
	if err != nil {
		return nil, err
	}
	var metadata []string
	if text != "" {
		metadata = []string{text}
	}
	return g.newRun(ctx, op, metadata, h), nil
}

// newRun makes a run under holds, which were acquired with metadata.
func (g *Guard) newRun(ctx context.Context, op operation, metadata []string, holds ...*keep.Hold) *run {
	r := &run{guard: g, began: time.Since(epoch)}
	r.op = op
	outer := innermost(ctx)
	if len(g.opts.observers) > 0 && slices.ContainsFunc(holds, func(h *keep.Hold) bool { return !outer.has(h) }) {
		start := RunStart{Name: g.opts.name, Op: op.String(), TTL: g.opts.ttl, Metadata: metadata}
		for _, h := range holds {
			start.Keys = append(start.Keys, h.Key())
			start.Tokens = append(start.Tokens, h.Fence)
		}
		ctx, r.observers = g.opts.observers.runStart(ctx, start)
		r.observed = ctx
	}
	r.derive(ctx, holds)
	for _, h := range r.holds() {
		h.Bind(r, r.observers != nil && !r.outer.has(h))
	}
	g.family.add(r)
	r.armMaxHold(g.opts.maxHold)
	return r
}

// call runs fn, and concludes the run however fn ends: return, panic and Goexit
// alike. The latter two go on from here.
func (r *run) call(fn func(context.Context) error) {
	defer r.conclude()
	r.err = fn(&r.runCtx)
	r.returned = true
}

// conclude ends the run: it detaches the context, gives the keys back and reports.
func (r *run) conclude() {
	took := time.Since(epoch) - r.began
	tooLong := false
	if r.maxHold != nil {
		r.maxHold.timer.Stop()
		tooLong = r.maxHold.passed.Load()
	}
	r.guard.family.remove(r)
	r.ran = true
	r.cancel(nil)
	if r.guard.opts.releaseLater && r.returned {
		r.releaseLater(took, tooLong)
		return
	}
	r.report(took, r.judge(r.release(), tooLong))
}

// release ends the holds and returns why each was lost, nil if it was not.
func (r *run) release() []*keep.Lost {
	if r.several == nil {
		why := r.one[0].End() // which needs no goroutine
		r.one[0].Unbind(r)    // a nested run may keep the hold longer than this one
		if why == nil {
			return nil
		}
		return []*keep.Lost{why}
	}
	losses := endAll(*r.several, (*keep.Hold).End)
	for _, h := range *r.several {
		h.Unbind(r)
	}
	return losses
}

// releaseLater is release and what follows, without the wait for the store: the
// result of the call is what is known now. Whichever ends last, this function or the
// goroutine of a release, reports.
func (r *run) releaseLater(took time.Duration, tooLong bool) {
	holds := r.holds()
	known, found := make([]*keep.Lost, len(holds)), make([]*keep.Lost, len(holds))
	var open atomic.Int32
	open.Store(int32(len(holds)) + 1) //nolint:gosec // a few keys
	ended := func() {
		if open.Add(-1) == 0 {
			why, _ := r.worst(found)
			r.report(took, why)
		}
	}
	released := func(i int, why *keep.Lost) {
		found[i] = why
		holds[i].Unbind(r)
		ended()
	}
	for i, h := range holds {
		why, later := h.EndLater(r.observers != nil, func(why *keep.Lost) { released(i, why) })
		if !later {
			known[i] = why
			released(i, why)
		}
	}
	r.judge(known, tooLong) // tooLong alone is no loss: observers do not hear of such a run
	ended()
}

// judge decides on the result, from why each lease was lost. It returns why the run
// was not under its leases to its end, in a word; "" if it was.
func (r *run) judge(losses []*keep.Lost, tooLong bool) LossReason {
	reason, err := r.worst(losses)
	if err == nil && tooLong {
		reason, err = LostMaxHold, r.tooLongError()
	}
	if r.kept = err == nil; r.kept {
		return ""
	}
	// What ctx was cancelled with adds nothing if fn returned just that.
	if own, ok := r.err.(*Error); !ok || own.Kind != err.Kind || own.Key != err.Key { //nolint:errorlint // not one that is wrapped
		err.Err = errors.Join(err.Err, r.err)
	}
	r.err = err
	return reason
}

// worst returns the loss that the run's error tells, of several the first key's;
// that MaxHold passed says less than any other.
func (r *run) worst(losses []*keep.Lost) (reason LossReason, err *Error) {
	for i, why := range slices.Backward(losses) {
		if why != nil && (err == nil || why.Reason != keep.MaxHold) {
			reason, err = lossReason(why), lost(r.op, r.holds()[i], why)
		}
	}
	return reason, err
}

// report calls the observers' RunEnd.
func (r *run) report(took time.Duration, why LossReason) {
	if r.observers == nil {
		return
	}
	end := RunEnd{Name: r.guard.opts.name, Held: took, Panicked: !r.returned, Lost: why}
	released := keep.ReleaseDone
	for _, h := range r.holds() {
		if !r.outer.has(h) {
			released = max(released, h.Released())
		}
		end.Keys = append(end.Keys, h.Key())
		end.Renewals += h.Renewals()
	}
	end.Release = releaseResults[released]
	if r.returned {
		end.Err = r.err
	}
	r.observers.runEnd(r.observed, end)
}

// armMaxHold ends r's leases when d has passed, and with them r; 0 means never. If
// they have been given back by then, fn was in time. A run that has only leases of
// the runs around it ends by itself: they are not its to end.
func (r *run) armMaxHold(d time.Duration) {
	if d == 0 {
		return
	}
	m := new(maxHold)
	r.maxHold = m
	m.timer = time.AfterFunc(d, func() {
		nested := true
		for _, h := range r.holds() {
			if !r.outer.has(h) {
				nested = false
				h.StopRenewing()
			}
		}
		if nested {
			m.passed.Store(true)
			r.cancel(r.tooLongError())
		}
	})
}

func (r *run) tooLongError() *Error {
	h := r.one[0]
	return &Error{Op: r.op.String(), Key: h.Key(), Fence: h.Fence, Kind: ErrMaxHold}
}

// Lost implements [keep.Listener]: it cancels fn's context.
func (r *run) Lost(h *keep.Hold, why *keep.Lost) { r.cancel(lost(r.op, h, why)) }

// Happened implements [keep.Listener]: it calls the run's observers. A loss may
// come here before its finder has cancelled fn's context; it is cancelled then.
func (r *run) Happened(h *keep.Hold, e keep.Event) {
	ev := Event{
		Kind: EventKind(e.Kind), Name: r.guard.opts.name, Key: h.Key(), Fence: h.Fence,
		TTL: h.TTL(), Left: e.Left, Holder: lease.OwnerName(e.Holder), Err: e.Err,
	}
	var why *keep.Lost
	if ev.Kind == EventLost && errors.As(e.Err, &why) {
		r.Lost(h, why)
		ev.Reason, ev.Err = lossReason(why), lossError{lost(r.op, h, why).Kind, why}
	}
	r.observers.event(r.observed, ev)
}
