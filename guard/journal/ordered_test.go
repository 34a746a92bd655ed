package journal_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
)

func TestOrderedRunFirstHasOpenRecordsOfItsKeyCompensated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var steps []string
		j := f.journal(func(ctx context.Context, r journal.Record) error {
			if !guard.Holding(ctx, "k") {
				t.Error("the handler does not hold the key")
			}
			steps = append(steps, string(r.Reason))
			return nil
		}, journal.Ordered())
		f.crash("k")
		must(t, j.Do(t.Context(), "k", charge("p"), func(context.Context) error {
			steps = append(steps, "fn")
			return nil
		}))
		_ = j.Do(t.Context(), "k", charge("p"), func(context.Context) error { return errWork })
		must(t, j.Do(t.Context(), "k", charge("p"), func(context.Context) error {
			steps = append(steps, "fn")
			return nil
		}))
		if want := []string{"abandoned", "fn", "failed", "fn"}; !slices.Equal(steps, want) {
			t.Errorf("steps %v, want %v", steps, want)
		}
		if s := f.stats(j); s.Open != 0 {
			t.Errorf("Stats() = %+v", s)
		}
	})
}

func TestOrderedRunFailsWithoutAHandlerHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.crash("k")
		j := f.journal(nil, journal.Ordered())
		err := j.Do(t.Context(), "k", charge("p"), func(context.Context) error { t.Error("fn ran"); return nil })
		if !errors.Is(err, journal.ErrOpen) {
			t.Errorf("Do() = %v, want ErrOpen", err)
		}
	})
}

func TestOrderedRunDoesNotBurnTheAttemptsOfAHandlerThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		broken := errors.New("broken")
		j := f.journal(func(context.Context, journal.Record) error { return broken }, journal.Ordered(), journal.MaxAttempts(3))
		f.crash("k")
		fn := func(context.Context) error { return nil }
		if err := j.Do(t.Context(), "k", charge("p"), fn); !errors.Is(err, journal.ErrOpen) || !errors.Is(err, broken) {
			t.Errorf("Do() = %v, want ErrOpen with the handler's error", err)
		}
		for range 10 {
			if err := j.Do(t.Context(), "k", charge("p"), fn); !errors.Is(err, journal.ErrOpen) {
				t.Errorf("Do() = %v, want ErrOpen", err)
			}
		}
		if n := len(f.called()); n != 1 {
			t.Errorf("the handler was called %d times at once", n)
		}
		f.run(j)
		time.Sleep(time.Minute)
		must(t, j.Do(t.Context(), "k", charge("p"), fn)) // it is dead, and a person was called
		if n := len(f.called()); n != 3 {
			t.Errorf("the handler was called %d times, want 3", n)
		}
	})
}

func TestOrderedRunsNestAndShareALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing, journal.Ordered())
		must(t, f.g.Do(t.Context(), "other", func(context.Context) error { return nil }))
		must(t, j.Do(t.Context(), "k", charge("outer"), func(ctx context.Context) error {
			return j.Do(ctx, "k", charge("inner"), func(context.Context) error { return nil })
		}))
		if n := len(f.called()); n != 0 {
			t.Errorf("the handler was called for a run that goes on around this one")
		}
	})
}

func TestOrderedRunsThatFollowEachOtherClosely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		slow := &slowEnd{Log: f.log, by: 600 * time.Millisecond}
		j, err := journal.New(f.guard(), slow, journal.Ordered())
		must(t, err)
		j.Handle("charge", f.recorded(nothing))
		done := make(chan error)
		const runs = 20
		for range runs {
			go func() {
				done <- j.Do(t.Context(), "k", charge("p"), func(context.Context) error { return nil })
			}()
		}
		for range runs {
			must(t, <-done)
		}
		if n := len(f.called()); n != 0 {
			t.Errorf("the handler was called %d times for runs that were done", n)
		}
	})
}

// A handler may do its work as a run on record, under the key that it holds.
func TestOrderedHandlerCanRunUnderItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var j *journal.Journal
		depth, refunds := 0, 0
		j = f.journal(func(ctx context.Context, r journal.Record) error {
			if depth++; depth > 3 {
				t.Error("the handler is called inside of itself")
				return errWork
			}
			defer func() { depth-- }()
			return j.Do(ctx, r.Key, journal.Op{Kind: "refund"}, func(context.Context) error { refunds++; return nil })
		}, journal.Ordered())
		j.Handle("refund", nothing)
		f.crash("k")
		must(t, j.Do(t.Context(), "k", charge("p"), func(context.Context) error { return nil })) // compensates it
		f.crash("other")
		f.run(j)
		time.Sleep(time.Minute)
		if s := f.stats(j); s.Open != 0 || refunds != 2 {
			t.Errorf("Stats() = %+v, %d refunds; want nothing open, and 2", s, refunds)
		}
	})
}
