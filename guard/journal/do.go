package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/internal/terms"
	"github.com/jobguard/jobguard/guard/journal/record"
)

const (
	intentTimeout  = 10 * time.Second // of storing an intent: the key is held meanwhile
	attemptTimeout = time.Second      // of one call of the log about an outcome
	outcomeTimeout = 2 * time.Second  // of all of them
	mostErr        = 1 << 10          // bytes of an error's text that are kept
)

// run is one call of fn with its record.
type run struct {
	record.Run
	journal *Journal

	mu          sync.Mutex // guards the rest
	checkpoint  []byte     // the last one that may have been stored
	checkpoints int64      // how many there were
	over        bool       // fn has returned

	// Written by the goroutine of fn, read by Do after it.
	outcome record.Outcome // "" while none was told
	claimed bool           // done, but its compensation had begun; written before stored is closed
	stored  chan struct{}  // closed when the outcome was stored, or given up; nil before
	leave   func()         // Shutdown waits until it is called; nil before
}

// Do is [guard.Guard.Do] with a record: what op says is stored, with the run's id and
// fencing token, before fn is called, and the outcome after it. If the intent cannot be
// stored fn does not run, and the error is guard.ErrUnavailable with the cause, or
// [ErrFull], [ErrTooLarge] or [ErrOpen]. All other errors are those of guard.Do.
//
// A process that was stopped between the release and the storing of the outcome may find
// that its run was compensated meanwhile: Do returns guard.ErrLost then, too.
//
// If fn returns an error, panics or exits, or its lease is lost, or its process dies, a
// handler of op.Kind is called ([Journal.Handle]).
//
// The outcome travels beside the release. If it cannot be stored within 2 s, Do returns
// what it would have returned, observers get EventUnstored, and the record stays open: a
// handler will be called with Abandoned.
func (j *Journal) Do(ctx context.Context, key string, op Op, fn func(context.Context) error) error {
	if fn == nil {
		panic("journal: nil fn")
	}
	if err := op.check(); err != nil {
		return err
	}
	var r *run
	defer func() { // also if fn panicked
		if r != nil && r.leave != nil {
			r.wait()
			r.leave()
		}
	}()
	err := j.guard.Do(ctx, key, func(ctx context.Context) error {
		started, err := j.begin(ctx, key, op)
		if err != nil {
			return err
		}
		r = started
		return r.call(ctx, fn)
	})
	if r == nil {
		return err
	}
	r.wait()
	if r.outcome != record.EndLate && lostBy(err, r) {
		r.end(ctx, record.EndLate, err) // the release found the loss
	}
	if err == nil && r.claimed {
		err = &guard.Error{Op: "journal", Key: key, Fence: r.Fence, Kind: guard.ErrLost, Err: record.ErrClaimed}
	}
	return err
}

// begin stores the intent, under the key.
func (j *Journal) begin(ctx context.Context, key string, op Op) (*run, error) {
	fence, ok := guard.FenceOf(ctx, key)
	if !ok {
		return nil, fmt.Errorf("journal: fn did not run: %w", errors.Join(guard.ErrLost, context.Cause(ctx)))
	}
	r := &run{journal: j}
	r.Record = Record{ID: rand.Text(), Kind: op.Kind, Key: key, Payload: op.Payload, Fence: fence}
	r.Log, r.Outer, r.Retain = j.log, record.RunOf(ctx), j.opts.retain
	in := record.Intent{Record: r.Record, Due: j.ttl, MaxOpen: j.opts.maxOpen, Ordered: j.opts.ordered}
	for {
		open, err := j.store(ctx, in)
		switch {
		case errors.Is(err, ErrFull):
			return nil, fmt.Errorf("%w (%d)", err, j.opts.maxOpen)
		case err != nil:
			return nil, &guard.Error{Op: "journal", Key: key, Fence: fence, Kind: errLog, Err: fmt.Errorf("the intent could not be stored, fn did not run: %w", err)}
		case len(open) > 0:
			open = slices.DeleteFunc(open, func(o record.Open) bool { return compensates(ctx, o.ID) })
			if in.Ordered = len(open) > 0; !in.Ordered { // it is part of their compensation
				continue
			}
			if err := j.clear(ctx, open); err != nil {
				return nil, err
			}
			continue
		case ctx.Err() != nil:
			r.end(ctx, record.EndVoid, nil)
			return nil, fmt.Errorf("journal: fn did not run: %w", context.Cause(ctx))
		}
		return r, nil
	}
}

// store is Begin of the log, bounded.
func (j *Journal) store(ctx context.Context, in record.Intent) ([]record.Open, error) {
	bounded, cancel := context.WithTimeout(ctx, intentTimeout)
	defer cancel()
	open, err := j.log.Begin(bounded, in)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil { // the caller's time is not over
		err = fmt.Errorf("no answer within %v: %v", intentTimeout, err) //nolint:errorlint // see above
	}
	return open, err
}

// call calls fn and tells the outcome however it ends.
func (r *run) call(ctx context.Context, fn func(context.Context) error) (err error) {
	returned := false
	defer func() {
		r.mu.Lock()
		r.over = true
		r.mu.Unlock()
		if !returned {
			err = errors.New("fn panicked or called Goexit")
		}
		r.outcome = r.judge(ctx, err)
		r.stored = make(chan struct{})
		r.leave = terms.Begin(r.journal.guard) // before guard.Do ends
		store := func() {
			defer close(r.stored)
			r.end(ctx, r.outcome, err)
		}
		if r.journal.opts.ordered {
			store()
			return
		}
		go store() // Do waits for it
	}()
	err = fn(context.WithValue(record.WithRun(ctx, &r.Run), runKey{}, r))
	returned = true
	return err
}

// judge says what came of fn.
func (r *run) judge(ctx context.Context, err error) record.Outcome {
	switch {
	case !guard.Holding(ctx, r.Key):
		return record.EndLate
	case err != nil:
		return record.EndFailed
	}
	return record.EndDone
}

// wait returns when the outcome was stored, or given up.
func (r *run) wait() {
	if r != nil && r.stored != nil {
		<-r.stored
	}
}

// end tells the log the outcome, for at most outcomeTimeout.
func (r *run) end(ctx context.Context, outcome record.Outcome, why error) {
	j := r.journal
	e := record.End{Record: r.Record, Outcome: outcome, Sealed: r.Sealed.Load(), Retain: j.opts.retain}
	r.mu.Lock()
	e.Checkpoint = r.checkpoint
	r.mu.Unlock()
	e.Err = text(why)
	if e.Sealed && outcome == record.EndDone { // if it is, the log knows
		e.Outcome, e.Err = record.EndFailed, "the transaction that was to mark the run done did not commit"
	}
	all, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer cancel()
	var err error
	for n := 1; all.Err() == nil; n++ {
		one, cancel := context.WithTimeout(all, attemptTimeout)
		err = j.log.End(one, e)
		cancel()
		if errors.Is(err, record.ErrClaimed) {
			r.claimed, err = true, nil
			outcome = record.EndLate
		}
		if err == nil {
			break
		}
		_ = backoff.Sleep(all, backoff.Pause(n, 10*time.Millisecond, 250*time.Millisecond)) // all is looked at
	}
	if outcome == record.EndLate {
		rec := e.Record
		rec.Reason = Late
		j.happened(ctx, Event{Kind: EventLate, Record: rec})
	}
	if err != nil && outcome != record.EndVoid {
		j.happened(ctx, Event{Kind: EventUnstored, Record: e.Record, Err: err})
	}
	if outcome == record.EndFailed || outcome == record.EndLate && !r.claimed { // else a handler was called
		j.unhandled(ctx, e.Record)
	}
}

// lostBy reports whether err is the loss of r's own lease.
func lostBy(err error, r *run) bool {
	e, ok := err.(*guard.Error) //nolint:errorlint // not one that fn returned
	return ok && e.Fence == r.Fence && e.Key == r.Key && slices.Contains(losses, e.Kind)
}

var losses = []error{guard.ErrLost, guard.ErrMaxHold, guard.ErrRevoked, guard.ErrReplaced}

// text is the text of err as it is kept.
func text(err error) string {
	if err == nil {
		return ""
	}
	return cut(err.Error())
}
