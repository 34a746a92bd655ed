package journal

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/internal/validkey"
	"github.com/jobguard/jobguard/guard/journal/record"
)

// Mismatch is a difference between what the log, or another source of truth, says and
// what is there.
type Mismatch struct {
	Kind    string // of the handler
	Key     string // under which it runs
	Payload []byte // for the handler; at most 64 KiB
	Text    string // for people: Record.Err
}

// Check calls find once in the fleet per interval, while ctx lives, and gives what it
// finds to the handlers, as records with reason Mismatched: they are retried, and die, as
// those of runs do. A mismatch is known by kind, key and payload; while its record is
// open or dead it is not stored again. Check returns ctx's cause once find has returned,
// or at once an error that says why it cannot run. Sweepers ([Journal.Run]) call the
// handlers.
//
// It is a job of cronwrap, whose clock ticks count from 1970 UTC: interval is a whole
// number of seconds, at least one. The job's name, and key, is made of the interval and
// the name of find's code, which have to be the same in all replicas; so two checks need
// functions of their own. The guard's store must remember ticks (lease.TickStore):
// redisstore does. find runs on a goroutine of Check's; its context ends with ctx, or if
// the key is lost. Its errors are told to observers, as EventCheckFailed.
func (j *Journal) Check(ctx context.Context, interval time.Duration, find func(context.Context) ([]Mismatch, error)) error {
	if find == nil {
		panic("journal: nil check")
	}
	if interval < time.Second || interval%time.Second != 0 {
		return fmt.Errorf("journal: check: the interval %v is not a whole number of seconds", interval)
	}
	clock := cron.New()
	jobs, err := cronwrap.New(clock, j.guard, cronwrap.OnError(func(e *cronwrap.Error) {
		j.happened(ctx, Event{Kind: EventCheckFailed, Err: e})
	}))
	if err != nil {
		return fmt.Errorf("journal: check: %w", err)
	}
	code := runtime.FuncForPC(reflect.ValueOf(find).Pointer()).Name()
	_, err = jobs.Add("@every "+interval.String(), guard.Key("journal-check", interval.String(), code), func(run context.Context) error {
		run, cancel := context.WithCancelCause(run)
		defer cancel(nil)
		defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
		return j.check(run, find)
	})
	if err != nil {
		return fmt.Errorf("journal: check: %w", err)
	}
	clock.Start()
	<-ctx.Done()
	_ = jobs.Shutdown(context.WithoutCancel(ctx)) // which ends when find has returned
	return context.Cause(ctx)
}

// check stores what find finds. A mismatch that no log could store hides no others.
func (j *Journal) check(ctx context.Context, find func(context.Context) ([]Mismatch, error)) error {
	found, err := find(ctx)
	errs := []error{err}
	for _, m := range found {
		err := m.check()
		if err == nil {
			if err := j.mismatch(ctx, m); err != nil {
				return errors.Join(append(errs, fmt.Errorf("a mismatch of key %.100q could not be stored: %w", m.Key, err))...)
			}
			continue
		}
		errs = append(errs, fmt.Errorf("a mismatch of key %.100q cannot be stored: %w", m.Key, err))
	}
	return errors.Join(errs...)
}

// check refuses what no handler could be called for.
func (m Mismatch) check() error {
	if err := validkey.Check(m.Key); err != nil {
		return fmt.Errorf("%w: %w", guard.ErrInvalidKey, err)
	}
	return Op{Kind: m.Kind, Payload: m.Payload}.check()
}

func (j *Journal) mismatch(ctx context.Context, m Mismatch) error {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", m.Kind, m.Key, m.Payload))
	e := record.End{Outcome: record.EndMismatch, Retain: j.opts.retain, Record: Record{
		ID:   "mismatch-" + base32.StdEncoding.EncodeToString(sum[:15]),
		Kind: m.Kind, Key: m.Key, Payload: m.Payload, Reason: Mismatched, Err: cut(m.Text),
	}}
	var err error
	for n := 1; n <= 3 && ctx.Err() == nil; n++ {
		one, cancel := context.WithTimeout(ctx, outcomeTimeout)
		err = j.log.End(one, e)
		cancel()
		if err == nil {
			j.happened(ctx, Event{Kind: EventMismatch, Record: e.Record})
			return nil
		}
		_ = backoff.Sleep(ctx, backoff.Pause(n, 10*time.Millisecond, time.Second)) // ctx is looked at
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}
