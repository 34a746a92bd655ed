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

	guard          *Guard
	next, previous *run // guarded by family.mu
}

// maxHold ends a run that takes too long.
type maxHold struct {
	timer  *time.Timer // nil without MaxHold
	passed atomic.Bool // and all leases are those of outer; set by the timer
}

// result is what came of a run.
type result struct {
	err      error // fn's, until the release adds to it
	ran      bool  // fn was called
	returned bool  // fn did: it neither panicked nor called Goexit
	kept     bool  // the leases lasted until fn returned, so err is fn's own
}

// do acquires key, calls fn, and releases.
//
// Little is kept on the stack while fn runs, here and in call: a service may have
// very many runs under way, and Go shrinks a stack only by halves. What a run has on
// the heap is as little: what is known when fn has returned is not there.
func (g *Guard) do(ctx context.Context, op operation, key string, fn func(context.Context) error) result {
	g.family.calls.Begin()
	defer g.family.calls.End()
	r, err := g.prepare(ctx, op, key)
	if err != nil {
		return result{err: err}
	}
	return r.call(fn)
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
	r := &run{guard: g}
	if op != opDo {
		r.seldom().op = op
	}
	if outer := innermost(ctx); slices.ContainsFunc(holds, func(h *keep.Hold) bool { return !outer.has(h) }) {
		ctx = r.show(ctx, metadata, holds)
	} else {
		r.seldom().observers = &nobody
	}
	r.derive(ctx, holds)
	r.armMaxHold(g.opts.maxHold)
	for _, h := range r.holds() {
		h.Bind(r, r.observed() && !r.outer().has(h))
	}
	g.family.add(r)
	return r
}

// show tells the observers that r begins, and returns what they make of ctx.
func (r *run) show(ctx context.Context, metadata []string, holds []*keep.Hold) context.Context {
	g := r.guard
	if len(g.opts.observers) == 0 {
		return ctx
	}
	start := RunStart{Name: g.opts.name, Op: r.op().String(), TTL: g.opts.ttl, Metadata: metadata}
	for _, h := range holds {
		start.Keys = append(start.Keys, h.Key())
		start.Tokens = append(start.Tokens, h.Fence)
	}
	ctx, sound := g.opts.observers.runStart(ctx, start)
	if sound != &g.opts.observers {
		r.seldom().observers = sound
	}
	return ctx
}

// nobody sees a run under leases of the runs around it.
var nobody observers

// observers are those that see r.
func (r *run) observers() *observers {
	if r.rare != nil && r.rare.observers != nil {
		return r.rare.observers
	}
	return &r.guard.opts.observers
}

func (r *run) observed() bool { return len(*r.observers()) > 0 }

// forObservers is the context that observers get, with the values of what they made of the
// caller's. It does not end: a span, or a line of a log, is to be written all the same.
func (r *run) forObservers() context.Context { return context.WithoutCancel(r.Context) }

// call runs fn, and concludes the run however fn ends: return, panic and Goexit
// alike. The latter two go on from here.
func (r *run) call(fn func(context.Context) error) (res result) {
	defer r.conclude(&res)
	res.err = fn(&r.runCtx)
	res.returned = true
	return res
}

// conclude ends the run: it detaches the context, gives the keys back and reports.
func (r *run) conclude(res *result) {
	ended := time.Now()
	tooLong := r.disarmMaxHold()
	r.guard.family.remove(r)
	res.ran = true
	r.cancel(nil)
	if r.guard.opts.releaseLater && res.returned {
		r.releaseLater(res, ended, tooLong)
		return
	}
	why := r.judge(res, r.release(), tooLong)
	r.report(*res, ended, why)
}

// release ends the holds and returns why each was lost, nil if it was not.
func (r *run) release() []*keep.Lost {
	holds := r.holds()
	if len(holds) == 1 {
		why := holds[0].End() // which needs no goroutine
		holds[0].Unbind(r)    // a nested run may keep the hold longer than this one
		if why == nil {
			return nil
		}
		return []*keep.Lost{why}
	}
	losses := endAll(holds, (*keep.Hold).End)
	for _, h := range holds {
		h.Unbind(r)
	}
	return losses
}

// releaseLater is release and what follows, without the wait for the store: the
// result of the call is what is known now. Whichever ends last, this function or the
// goroutine of a release, reports.
func (r *run) releaseLater(res *result, fnEnded time.Time, tooLong bool) {
	holds := r.holds()
	known, found := make([]*keep.Lost, len(holds)), make([]*keep.Lost, len(holds))
	var open atomic.Int32
	open.Store(int32(len(holds)) + 1) //nolint:gosec // a few keys
	var told result                   // what the caller is told
	ended := func() {
		if open.Add(-1) == 0 {
			why, _ := r.worst(found)
			r.report(told, fnEnded, why)
		}
	}
	released := func(i int, why *keep.Lost) {
		found[i] = why
		holds[i].Unbind(r)
		ended()
	}
	for i, h := range holds {
		why, later := h.EndLater(r.observed(), func(why *keep.Lost) { released(i, why) })
		if !later {
			known[i] = why
			released(i, why)
		}
	}
	r.judge(res, known, tooLong) // tooLong alone is no loss: observers do not hear of such a run
	told = *res
	ended()
}

// judge decides on res, from why each lease was lost. It returns why the run
// was not under its leases to its end, in a word; "" if it was.
func (r *run) judge(res *result, losses []*keep.Lost, tooLong bool) LossReason {
	reason, err := r.worst(losses)
	if err == nil && tooLong {
		reason, err = LostMaxHold, r.tooLongError()
	}
	if res.kept = err == nil; res.kept {
		return ""
	}
	// What ctx was cancelled with adds nothing if fn returned just that.
	if own, ok := res.err.(*Error); !ok || own.Kind != err.Kind || own.Key != err.Key { //nolint:errorlint // not one that is wrapped
		err.Err = errors.Join(err.Err, res.err)
	}
	res.err = err
	return reason
}

// worst returns the loss that the run's error tells, of several the first key's;
// that MaxHold passed says less than any other.
func (r *run) worst(losses []*keep.Lost) (reason LossReason, err *Error) {
	for i, why := range slices.Backward(losses) {
		if why != nil && (err == nil || why.Reason != keep.MaxHold) {
			reason, err = lossReason(why), lost(r.op(), r.holds()[i], why)
		}
	}
	return reason, err
}

// report calls the observers' RunEnd. ended is when fn did.
func (r *run) report(res result, ended time.Time, why LossReason) {
	if !r.observed() {
		return
	}
	end := RunEnd{Name: r.guard.opts.name, Panicked: !res.returned, Lost: why}
	released := keep.ReleaseDone
	for _, h := range r.holds() {
		if !r.outer().has(h) {
			released = max(released, h.Released())
			if held := ended.Sub(h.Granted()); end.Held == 0 || held < end.Held {
				end.Held = held
			}
		}
		end.Keys = append(end.Keys, h.Key())
		end.Renewals += h.Renewals()
	}
	end.Release = releaseResults[released]
	if res.returned {
		end.Err = res.err
	}
	r.observers().runEnd(r.forObservers(), end)
}

// armMaxHold ends r's leases when d has passed, and with them r; 0 means never. If
// they have been given back by then, fn was in time. A run that has only leases of
// the runs around it ends by itself: they are not its to end.
func (r *run) armMaxHold(d time.Duration) {
	if d == 0 {
		return
	}
	m := &r.seldom().maxHold
	m.timer = time.AfterFunc(d, func() {
		nested := true
		for _, h := range r.holds() {
			if !r.outer().has(h) {
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

// disarmMaxHold stops the timer, and reports whether r took too long for leases of the runs
// around it.
func (r *run) disarmMaxHold() (tooLong bool) {
	if r.rare == nil || r.rare.maxHold.timer == nil {
		return false
	}
	r.rare.maxHold.timer.Stop()
	return r.rare.maxHold.passed.Load()
}

func (r *run) tooLongError() *Error {
	h := r.one[0]
	return &Error{Op: r.op().String(), Key: h.Key(), Fence: h.Fence, Kind: ErrMaxHold}
}

// Lost implements [keep.Listener]: it cancels fn's context.
func (r *run) Lost(h *keep.Hold, why *keep.Lost) { r.cancel(lost(r.op(), h, why)) }

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
		ev.Reason, ev.Err = lossReason(why), lossError{lost(r.op(), h, why).Kind, why}
	}
	r.observers().event(r.forObservers(), ev)
}
