package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/internal/panics"
)

const (
	// settle is how long a claimant that has just been granted the key waits for an
	// outcome that may travel beside the release.
	settle = 250 * time.Millisecond

	// lap is how long a record that was taken or claimed is left alone by others.
	lap = 15 * time.Second

	claimTimeout = 5 * time.Second

	firstRetry, longestRetry = time.Second, 5 * time.Minute
)

// compensate calls the handler for a record, under its key, unless it turns out to need
// none. The error is the handler's, or why it could not be called.
func (j *Journal) compensate(ctx context.Context, at record.Ref) error {
	h := j.handler(at.Kind)
	if h == nil {
		return fmt.Errorf("no handler for the kind %q here", at.Kind)
	}
	fence, ok := guard.FenceOf(ctx, at.Key)
	if !ok {
		return fmt.Errorf("%w before the record was claimed", guard.ErrLost)
	}
	c := record.Claim{Ref: at, By: rand.Text()[:12], Fence: fence, Lap: lap}
	claimed, err := j.claim(ctx, c)
	if err == nil && claimed.State == record.Unsettled {
		if err := backoff.Sleep(ctx, settle); err != nil {
			return err
		}
		c.Settled = true
		claimed, err = j.claim(ctx, c)
	}
	switch {
	case err != nil:
		return fmt.Errorf("the record could not be claimed: %w", err)
	case claimed.State == record.Refused:
		return fmt.Errorf("%w: the record is claimed under a higher token", guard.ErrLost)
	case claimed.State != record.Granted:
		return nil
	}
	r := claimed.Record
	err = panics.Call(func() error { return h(handling(ctx, r.ID), r) })
	if !guard.Holding(ctx, at.Key) {
		err = errors.Join(fmt.Errorf("%w while the handler ran", guard.ErrLost), err)
	}
	return j.resolve(ctx, c, r, err)
}

// handled is a record whose handler runs, perhaps inside of another's.
type handled struct {
	id    string
	outer *handled
}

type handledKey struct{}

// handling returns the context of the handler of a record: of no run.
func handling(ctx context.Context, id string) context.Context {
	outer, _ := ctx.Value(handledKey{}).(*handled)
	ctx = context.WithValue(ctx, handledKey{}, &handled{id: id, outer: outer})
	return context.WithValue(record.WithRun(ctx, nil), runKey{}, nil)
}

// compensates reports whether ctx comes from the handler of a record.
func compensates(ctx context.Context, id string) bool {
	h, _ := ctx.Value(handledKey{}).(*handled)
	for ; h != nil; h = h.outer {
		if h.id == id {
			return true
		}
	}
	return false
}

// claim is bounded: a log may wait for a transaction that hangs, and the key is held.
func (j *Journal) claim(ctx context.Context, c record.Claim) (record.Claimed, error) {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	return j.log.Claim(ctx, c)
}

// resolve tells the log what came of the handler, and returns why the record is still
// open; nil if it is not.
func (j *Journal) resolve(ctx context.Context, c record.Claim, r Record, failed error) error {
	v := record.Verdict{Ref: c.Ref, By: c.By, Result: record.Compensated, Retain: j.opts.retain}
	if failed != nil {
		r.Err = text(failed)
		v.Result, v.Err, v.After = record.Retry, r.Err, backoff.Pause(r.Attempt, firstRetry, longestRetry)
		if r.Attempt >= j.opts.maxAttempts {
			v.Result = record.Die
		}
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer cancel()
	var answer record.Resolved
	var err error
	for n := 1; ; n++ {
		answer, err = j.log.Resolve(bounded, v)
		if err == nil || backoff.Sleep(bounded, backoff.Pause(n, 10*time.Millisecond, 250*time.Millisecond)) != nil {
			break
		}
	}
	switch {
	case err != nil:
		j.happened(ctx, Event{Kind: EventUnstored, Record: r, Err: err})
		return fmt.Errorf("what came of the handler could not be stored: %w", errors.Join(failed, err))
	case answer == record.Void:
		return fmt.Errorf("the record was claimed by another meanwhile: %w", errors.Join(guard.ErrLost, failed))
	case failed == nil:
		j.happened(ctx, Event{Kind: EventCompensated, Record: r})
		return nil
	case v.Result == record.Die && answer == record.Accepted:
		j.died(ctx, r, failed)
		return nil
	}
	j.happened(ctx, Event{Kind: EventRetry, Record: r, Err: failed})
	return failed
}

// died reports a record that is dead.
func (j *Journal) died(ctx context.Context, r Record, why error) {
	j.happened(ctx, Event{Kind: EventDead, Record: r, Err: why})
	if j.opts.onDead == nil {
		slog.ErrorContext(ctx, "journal: a record is dead: its handler failed for the last time", "kind", r.Kind, "id", r.ID, "attempt", r.Attempt, "err", why)
		return
	}
	if p := panics.Catch(func() { j.opts.onDead(r) }); p != nil {
		slog.ErrorContext(ctx, "journal: OnDead panicked", "id", r.ID, "panic", p.Value, "at", p.At)
	}
}

// clear compensates the open records that an ordered run found, under its key.
func (j *Journal) clear(ctx context.Context, open []record.Open) error {
	for _, o := range open {
		if o.Backoff > 0 {
			return fmt.Errorf("%w: %s of kind %q: its handler failed and is called again in %v", ErrOpen, o.ID, o.Kind, o.Backoff.Round(time.Millisecond))
		}
		if err := j.compensate(ctx, o.Ref); err != nil {
			return fmt.Errorf("%w: %s of kind %q: %w", ErrOpen, o.ID, o.Kind, err)
		}
	}
	return nil
}
