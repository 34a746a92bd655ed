package journal_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
)

// checking runs a check on each of three replicas until the test ends.
func (f *fleet) checking(find func(context.Context) ([]journal.Mismatch, error), handler func(context.Context, journal.Record) error, opts ...journal.Option) *journal.Journal {
	var last *journal.Journal
	for range 3 {
		j := f.journal(handler, opts...)
		last = j
		f.run(j)
		ctx, cancel := context.WithCancel(f.t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := j.Check(ctx, time.Minute, find); !errors.Is(err, context.Canceled) {
				f.t.Errorf("Check() = %v", err)
			}
		}()
		f.t.Cleanup(func() { cancel(); <-done })
	}
	return last
}

func TestCheckRunsOncePerTickInTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var calls atomic.Int32
		f.checking(func(context.Context) ([]journal.Mismatch, error) { calls.Add(1); return nil, nil }, nothing)
		time.Sleep(10*time.Minute + 30*time.Second)
		if n := calls.Load(); n != 10 {
			t.Errorf("3 replicas checked %d times in 10 minutes, want 10", n)
		}
	})
}

func TestMismatchGoesTheWayOfRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var seen events
		var dead atomic.Int32
		found := atomic.Bool{}
		found.Store(true)
		var broken atomic.Bool
		find := func(context.Context) ([]journal.Mismatch, error) {
			if !found.Load() {
				return nil, nil
			}
			return []journal.Mismatch{{Kind: "charge", Key: "k", Payload: []byte("p"), Text: "10 in the log, 9 in the bank"}}, nil
		}
		j := f.checking(find, func(ctx context.Context, _ journal.Record) error {
			if !guard.Holding(ctx, "k") {
				t.Error("the handler does not hold the key")
			}
			if broken.Load() {
				return errWork
			}
			found.Store(false)
			return nil
		}, journal.Observe(&seen), journal.MaxAttempts(2), journal.OnDead(func(journal.Record) { dead.Add(1) }))
		time.Sleep(5 * time.Minute)
		got := f.called()
		if len(got) != 1 || got[0].Reason != journal.Mismatched || got[0].Err != "10 in the log, 9 in the bank" || string(got[0].Payload) != "p" || got[0].Attempt != 1 {
			t.Errorf("the handler got %+v, want the mismatch once", got)
		}
		if n := seen.count(journal.EventMismatch); n != 1 {
			t.Errorf("observers heard of %d mismatches", n)
		}
		broken.Store(true)
		found.Store(true) // again, and now the handler fails
		time.Sleep(10 * time.Minute)
		if n := len(f.called()); n != 3 || dead.Load() != 1 {
			t.Errorf("the handler was called %d times, OnDead %d times; want 3 and 1: a dead mismatch is not found anew", n, dead.Load())
		}
		if s := f.stats(j); s.Dead != 1 || s.Open != 0 {
			t.Errorf("Stats() = %+v", s)
		}
	})
}

func TestCheckThatFailsIsToldToObservers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var seen events
		f.checking(func(context.Context) ([]journal.Mismatch, error) { return nil, errWork }, nothing, journal.Observe(&seen))
		time.Sleep(90 * time.Second)
		if e := seen.last(journal.EventCheckFailed); e == nil || !errors.Is(e.Err, errWork) {
			t.Errorf("observers heard %+v", e)
		}
	})
}

func TestCheckEndsWithItsContextAndWaitsForFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		ended := false
		err := j.Check(ctx, time.Minute, func(ctx context.Context) ([]journal.Mismatch, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return nil, ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) || !ended {
			t.Errorf("Check() = %v, find has returned: %v", err, ended)
		}
		for _, interval := range []time.Duration{0, 1500 * time.Millisecond, -time.Second} {
			if err := j.Check(ctx, interval, func(context.Context) ([]journal.Mismatch, error) { return nil, nil }); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Check() with interval %v = %v", interval, err)
			}
		}
	})
}

func TestMismatchThatCannotBeStoredHidesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var seen events
		find := func(context.Context) ([]journal.Mismatch, error) {
			return []journal.Mismatch{{Kind: "charge"}, {Key: "no kind"}, {Kind: "charge", Key: "a\nb"}, {Kind: "charge", Key: "k"}}, nil
		}
		j := f.checking(find, nothing, journal.Observe(&seen))
		time.Sleep(90 * time.Second)
		if got := f.called(); len(got) != 1 || got[0].Key != "k" {
			t.Errorf("the handler got %+v, want the mismatch that is whole", got)
		}
		if s := f.stats(j); s.Open != 0 {
			t.Errorf("Stats() = %+v: no sweeper could get such a key", s)
		}
		if e := seen.last(journal.EventCheckFailed); e == nil || !errors.Is(e.Err, guard.ErrInvalidKey) {
			t.Errorf("observers heard %+v, want the key's error", e)
		}
	})
}
