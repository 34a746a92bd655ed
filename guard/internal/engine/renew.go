package engine

import (
	"context"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

const (
	// maxFlushers renewal batches are under way at once. The store has its own bound
	// of what it sends; this one is for a shard of it that answers no more, whose
	// leases keep a batch until its timeout. 8 were too few for 15 000 of those
	// beside 30 000 others, 32 enough for twice as many.
	maxFlushers  = 64
	maxBatch     = 256 // leases in one batch
	coalesceFrac = 8   // renewals due within 1/8 of the attempt's timeout go along
)

// schedule says when which tenure is renewed. Its timer's goroutine takes what
// is due and sends it; no goroutine waits for a lease. Guarded by Engine.mu.
type schedule struct {
	timetable
	flushers int
	most     int // flushers at once: maxFlushers, but in tests
}

// renewal is the part of a tenure that the schedule keeps.
type renewal struct {
	entry  entry
	flight *flight // the batch it is under way in, if any
	failed int32   // in a row
	done   int32   // how many succeeded
	err    error   // of the last one, nil if it succeeded
}

// flight is a batch under way. When the last of its tenures has ended, nobody
// needs the answer and the call is broken off.
type flight struct {
	left   int
	cancel context.CancelFunc
}

// planLocked puts t's next renewal at due.
func (e *Engine) planLocked(t *tenure, due time.Time) {
	if t.ended || t.renewalOver || t.renewal.entry.index > 0 {
		return
	}
	e.renewals.add(&t.renewal.entry, t, due)
	e.renewals.armLocked()
}

func (e *Engine) unplanLocked(t *tenure) {
	e.renewals.remove(&t.renewal.entry)
	if f := t.renewal.flight; f != nil {
		t.renewal.flight = nil
		f.left--
		if f.left == 0 {
			f.cancel()
		}
	}
}

// armLocked sets the timer, unless there are flushers enough: the first that is
// done does it then.
func (s *schedule) armLocked() {
	if s.flushers < s.most {
		s.arm()
	}
}

// flush runs on the timer's goroutine. It sends one batch of what is due, and
// sets the timer for the rest first, so that a stuck store call delays nobody
// else's renewal while fewer than maxFlushers are stuck.
func (e *Engine) flush() {
	e.mu.Lock()
	e.renewals.fired()
	batch := e.takeDueLocked()
	if len(batch) == 0 {
		e.renewals.armLocked()
		e.mu.Unlock()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), batch[0].attemptTimeout(time.Now()))
	defer cancel()
	f := &flight{left: len(batch), cancel: cancel}
	for _, t := range batch {
		t.renewal.flight = f
	}
	e.renewals.flushers++
	e.work++
	e.renewals.armLocked()
	e.mu.Unlock()

	_ = e.renew(ctx, batch) // each tenure has been told its own outcome

	e.mu.Lock()
	e.renewals.flushers--
	e.renewals.armLocked()
	e.mu.Unlock()
	e.done()
}

// attemptTimeout bounds the next renewal. The first one of a lease that began on a
// wake-up leaves time for another before trust ends.
func (t *tenure) attemptTimeout(now time.Time) time.Duration {
	d := t.opt.renewTimeout()
	if left := t.trustLeft(now); t.renewal.failed == 0 && left > 0 && left < 2*d {
		return left / 2
	}
	return d
}

// takeDueLocked removes a batch from the heap: what is due now or very soon,
// as far as it goes with one attempt timeout.
func (e *Engine) takeDueLocked() []*tenure {
	s, now := &e.renewals, time.Now()
	if s.flushers >= s.most {
		return nil
	}
	x := s.takeUntil(now)
	if x == nil {
		return nil
	}
	timeout := x.t.attemptTimeout(now)
	horizon := now.Add(timeout / coalesceFrac)
	batch := []*tenure{x.t}
	for len(batch) < maxBatch {
		if x = s.first(); x == nil {
			break
		}
		if d := x.t.attemptTimeout(now); d < timeout || d > timeout*5/4 {
			break // one attempt does not suit both
		}
		if x = s.takeUntil(horizon); x == nil {
			break
		}
		batch = append(batch, x.t)
	}
	return batch
}

// renew asks the store once to extend the leases of batch, and settles each by
// its own reply. It returns the last error, for a batch of one.
func (e *Engine) renew(ctx context.Context, batch []*tenure) (err error) {
	rs := make([]lease.RenewRequest, len(batch))
	for i, t := range batch {
		rs[i] = lease.RenewRequest{Key: t.l.key, Owner: t.owner, TTL: t.opt.TTL, Limit: t.opt.Limit}
	}
	sent := time.Now()
	replies := e.store.Renew(ctx, rs)

	var lost []loss
	var told []func()
	e.mu.Lock()
	for i, t := range batch {
		t.renewal.flight = nil
		l, f := t.settleLocked(sent, replies[i])
		lost = append(lost, l)
		if f != nil {
			told = append(told, f)
		}
		if replies[i].Err != nil {
			err = replies[i].Err
		}
	}
	e.mu.Unlock()
	tellAll(lost)
	for _, f := range told {
		f()
	}
	return err
}

// settleLocked applies one renewal's outcome and plans the next. A reply that
// comes when release has begun says nothing any more: the release may have run
// before the renewal, which then rightly found another owner.
func (t *tenure) settleLocked(sent time.Time, r lease.RenewReply) (_ loss, report func()) {
	if t.ended || t.renewalOver {
		return loss{}, nil
	}
	e, h := t.l.e, t.hold
	switch {
	case r.Err != nil:
		// One failure loses nothing while trust lasts: try again, soon.
		t.renewal.failed++
		t.renewal.err = storeError{r.Err}
		e.planLocked(t, time.Now().Add(backoff(int(t.renewal.failed), t.opt.TTL/10)))
		return loss{}, h.tellLocked(Event{Kind: EventRenewFailed, Err: r.Err})
	case !r.Held:
		return t.loseLocked(&Lost{Kind: ErrLost, Reason: ReasonNotOwner, Holder: r.Holder}), nil
	default:
		left := max(0, t.trustLeft(time.Now()))
		t.renewal.failed, t.renewal.err = 0, nil
		t.renewal.done++
		if !t.lost.Load() && left > 0 {
			t.extendLocked(sent, t.opt.TTL)
		}
		e.planLocked(t, sent.Add(t.opt.renewPause()))
		return loss{}, h.tellLocked(Event{Kind: EventRenewed, Left: left})
	}
}
