package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// line is what this process knows about one key. Everything in it is guarded
// by Engine.mu. It exists while somebody here waits for the key or holds it.
//
// Those who would hold the key beside others do not keep each other waiting, so
// each has a line of its own, which no other call finds, and a place of its own
// in the store's line.
type line struct {
	e   *Engine
	key string

	waiters   []*waiter  // in order of arrival; the first is served next
	contender *contender // stands for the waiters in the store; nil if none does
	tenure    *tenure    // the live one: trusted, or just being released
	first     tenure     // the memory of the first one: mostly there is no other
	calls     int        // store calls made since the line exists
}

// news is what a contender last heard, for those who give up.
type news struct {
	heard   bool      // somebody had the key
	holder  string    // who; "" if that was not told
	expires time.Time // when the holder's lease would; zero if unknown
	err     error     // of the last store call, nil if it was answered
	failing time.Time // since when calls have failed in a row
}

// waiter is one Acquire. Everything but opt and since is guarded by Engine.mu.
type waiter struct {
	opt   Options
	since time.Time
	calls int // line.calls at that time

	// One of the two is set, once, when it is answered, and told is closed. Most
	// are answered before they have to wait: they need no told.
	hold *Hold
	fail *Failure
	told chan struct{}

	contender contender // that it started, if it did: mostly it ends with the waiter
}

// sawLocked notes that the key is in holder's hands.
func (w *waiter) sawLocked(holder string) {
	if s := w.opt.Saw; s != nil {
		s.Held = true
		if holder != "" {
			s.Holder = holder
		}
	}
}

func (w *waiter) answerLocked(h *Hold, f *Failure) {
	w.hold, w.fail = h, f
	if w.told != nil {
		close(w.told)
	}
}

// Acquire waits for key as opt says and returns a hold, which the caller must
// End, or the reason why there is none. When ctx ends or the engine is closed,
// Acquire returns within firstPatience, and at once if it has to wait at all; a
// grant that arrives at that very moment goes to the next in line.
func (e *Engine) Acquire(ctx context.Context, key string, opt Options) (*Hold, *Failure) {
	if ctx.Err() != nil {
		return nil, &Failure{Kind: ctx.Err(), Err: causeBeyond(ctx)}
	}
	w := &waiter{opt: opt, since: time.Now()}

	e.mu.Lock()
	if e.isClosed() {
		e.mu.Unlock()
		return nil, &Failure{Kind: ErrClosed}
	}
	l := e.lineLocked(key, opt.Limit)
	w.calls = l.calls
	switch {
	case l.tenure != nil:
		w.sawLocked(l.tenure.owner)
	case l.contender != nil && l.contender.heard:
		w.sawLocked(l.contender.holder)
	}
	if opt.Wait == 0 && (l.tenure != nil || len(l.waiters) > 0 && l.contender.knowsTrouble()) {
		// Somebody has it, or the store is failing, as others here have just
		// found: trying once more can only mean barging.
		f := l.obstacleLocked(w)
		e.mu.Unlock()
		return nil, f
	}
	l.waiters = append(l.waiters, w)
	if l.mayContendLocked() {
		c := l.startLocked(&w.contender)
		near := firstRTTs*e.rtt <= firstPatience
		e.mu.Unlock()
		c.first(ctx, w, near)
		e.mu.Lock()
	}
	if w.hold != nil || w.fail != nil {
		e.mu.Unlock()
		return l.take(ctx, w)
	}
	w.told = make(chan struct{})
	e.mu.Unlock()

	var patience <-chan time.Time
	if opt.Wait > 0 {
		t := time.NewTimer(time.Until(w.since.Add(opt.Wait)))
		defer t.Stop()
		patience = t.C
	}
	select {
	case <-w.told:
		return l.take(ctx, w)
	case <-ctx.Done():
		return l.giveUp(w, func(f *Failure) { f.addContext(ctx) })
	case <-e.closed:
		return l.giveUp(w, func(f *Failure) { *f = Failure{Kind: ErrClosed, Attempts: f.Attempts} })
	case <-patience:
		return l.giveUp(w, nil)
	}
}

// take returns what w was answered; whoever is not wanted any more does not begin.
func (l *line) take(ctx context.Context, w *waiter) (*Hold, *Failure) {
	switch {
	case w.hold == nil:
		return nil, w.fail
	case ctx.Err() != nil:
		return l.decline(w.hold, func(f *Failure) { f.addContext(ctx) })
	case l.e.isClosed():
		return l.decline(w.hold, func(f *Failure) { f.Kind = ErrClosed })
	}
	return w.hold, nil
}

// giveUp takes w out of the line; because adds to the failure why. If w was
// answered at the same moment, a failure is returned as it is, and a hold goes
// to the next in line, unless because is nil: it was only patience that ended,
// and the hold is as good as one in time.
func (l *line) giveUp(w *waiter, because func(*Failure)) (*Hold, *Failure) {
	e := l.e
	e.mu.Lock()
	if i := slices.Index(l.waiters, w); i >= 0 {
		l.waiters = slices.Delete(l.waiters, i, i+1)
		if len(l.waiters) == 0 && l.contender != nil {
			l.contender.lookLocked()
			if l.contender.breakOff != nil {
				l.contender.breakOff() // nobody needs the answer; the contender cleans up
			}
		}
		f := l.obstacleLocked(w)
		e.mu.Unlock()
		if because != nil {
			because(f)
		}
		return nil, f
	}
	e.mu.Unlock()

	if w.hold == nil || because == nil {
		return w.hold, w.fail
	}
	return l.decline(w.hold, because)
}

// decline gives a hold that came too late to the next in line, without making
// the caller wait for the store.
func (l *line) decline(h *Hold, because func(*Failure)) (*Hold, *Failure) {
	l.e.mu.Lock()
	l.e.spawnLocked(h.Abandon)
	l.e.mu.Unlock()
	f := &Failure{Attempts: int(h.Attempts)}
	because(f)
	return nil, f
}

// causeBeyond returns ctx's cause if it says more than ctx's error.
func causeBeyond(ctx context.Context) error {
	if c := context.Cause(ctx); c != ctx.Err() { //nolint:errorlint // identity is meant
		return c
	}
	return nil
}

// lineLocked returns the line for key, making it if need be.
func (e *Engine) lineLocked(key string, limit lease.Limit) *line {
	if limit != lease.Exclusive {
		return &line{e: e, key: key}
	}
	l := e.lines[key]
	if l == nil {
		l = &line{e: e, key: key}
		e.lines[key] = l
	}
	return l
}

// dropLocked forgets a line that nobody needs.
func (l *line) dropLocked() {
	if len(l.waiters) == 0 && l.contender == nil && l.tenure == nil && l.e.lines[l.key] == l {
		delete(l.e.lines, l.key)
	}
}

// mayContendLocked reports whether it is time for a contender: somebody waits,
// nobody stands in the store's line for this one, and the key cannot be handed
// on here any more. Until then a place in that line would mostly be for nothing;
// from then on it counts, against those of other processes.
func (l *line) mayContendLocked() bool {
	if len(l.waiters) == 0 || l.contender != nil {
		return false
	}
	if l.tenure == nil {
		return true
	}
	left := tenureMax - time.Since(l.tenure.began.time(l.e))
	if left > 0 && l.tenure.aging == nil {
		l.tenure.aging = time.AfterFunc(left, l.kick)
	}
	return left <= 0 && !l.tenure.ended
}

func (l *line) kick() {
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	l.kickLocked()
}

// kickLocked starts a contender if it is time for one.
func (l *line) kickLocked() {
	if !l.mayContendLocked() {
		l.dropLocked()
		return
	}
	l.startLocked(new(contender)).spawnLocked(0)
}

// errNoAnswer is the cause when the wait ended before the store's first reply.
var errNoAnswer = errors.New("no answer from the store yet")

// storeError is an error of the store. The context of the call that failed was the
// engine's: that it ended must not look as if the caller's own had.
type storeError struct{ err error }

func (e storeError) Error() string      { return e.err.Error() }
func (e storeError) As(target any) bool { return errors.As(e.err, target) }
func (e storeError) Is(target error) bool {
	return target != context.DeadlineExceeded && target != context.Canceled && errors.Is(e.err, target)
}

// obstacleLocked says what stood in w's way, as far as it is known: a holder,
// or a store that fails, or that has not answered yet.
func (l *line) obstacleLocked(w *waiter) *Failure {
	f := &Failure{Kind: ErrBusy, Attempts: l.calls - w.calls}
	switch c := l.contender; {
	case l.tenure != nil:
		f.Holder = l.tenure.owner
		f.RetryAfter = max(0, l.tenure.trustLeft(time.Now())+l.tenure.opt.Margin)
	case c != nil && c.err != nil:
		f.Kind, f.Err = ErrUnavailable, c.err
	case c != nil && c.heard:
		f.Holder = c.holder
		f.RetryAfter = max(0, time.Until(c.expires))
	default:
		f.Kind, f.Err = ErrUnavailable, errNoAnswer
	}
	return f
}

// addContext says that ctx's end was why w left, besides what stood in its way.
// That the store had not answered yet is no news to those who went away; a deadline
// gave it time, as Wait does.
func (f *Failure) addContext(ctx context.Context) {
	silent := errors.Is(f.Err, errNoAnswer) && !errors.Is(ctx.Err(), context.DeadlineExceeded)
	if f.Kind == nil || silent {
		f.Kind, f.Err = ctx.Err(), causeBeyond(ctx)
		return
	}
	f.Err = errors.Join(ctx.Err(), causeBeyond(ctx), f.Err)
}

// serveLocked gives h to the first waiter, and takes it out of the line.
func (l *line) serveLocked(h *Hold) {
	w := l.waiters[0]
	l.waiters = slices.Delete(l.waiters, 0, 1)
	w.answerLocked(h, nil)
}
