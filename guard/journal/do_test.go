package journal_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/record"
)

func TestRunThatSucceedsIsDoneAndNoHandlerIsCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		f.run(j)
		must(t, j.Do(t.Context(), "k", charge("p"), func(context.Context) error {
			time.Sleep(3 * ttl) // longer than the sweeper waits with its first look
			if s := f.stats(j); s.Open != 1 || s.Oldest != 3*ttl {
				t.Errorf("Stats() = %+v while fn runs, want one open record, 3s old", s)
			}
			return nil
		}))
		time.Sleep(time.Hour)
		if got := f.called(); len(got) > 0 {
			t.Errorf("the handler was called with %+v", got)
		}
		if s := f.stats(j); s != (journal.Stats{}) {
			t.Errorf("Stats() = %+v at the end", s)
		}
	})
}

func TestIntentThatCannotBeStoredMeansThatFnDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		down := errors.New("down")
		f.log.Fail(down)
		err := j.Do(t.Context(), "k", charge("p"), func(context.Context) error {
			t.Error("fn ran without an intent")
			return nil
		})
		if !errors.Is(err, guard.ErrUnavailable) || !errors.Is(err, down) {
			t.Errorf("Do() = %v, want ErrUnavailable and the log's error", err)
		}
		if _, held := f.store.Holder("k"); held {
			t.Error("the key is held")
		}
	})
}

func TestErrorOfFnIsReturnedAndCompensatedAsFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var fence, own int64
		j := f.journal(func(ctx context.Context, _ journal.Record) error {
			own, _ = guard.Fence(ctx)
			if !guard.Holding(ctx, "k") {
				t.Error("the handler does not hold the key")
			}
			return nil
		})
		f.run(j)
		began := time.Now()
		err := j.Do(t.Context(), "k", charge("p"), func(ctx context.Context) error {
			fence, _ = guard.Fence(ctx)
			must(t, journal.Checkpoint(ctx, []byte("half")))
			return errWork
		})
		if err != errWork {
			t.Errorf("Do() = %v, want fn's own error", err)
		}
		time.Sleep(2 * time.Second)
		got := f.called()
		if len(got) != 1 {
			t.Fatalf("the handler was called %d times", len(got))
		}
		r := got[0]
		if r.Kind != "charge" || r.Key != "k" || string(r.Payload) != "p" || string(r.Checkpoint) != "half" ||
			r.Reason != journal.Failed || r.Fence != fence || r.LatestFence != fence || r.Attempt != 1 || r.Err != errWork.Error() || !r.Started.Equal(began) {
			t.Errorf("the record is %+v", r)
		}
		if own <= fence {
			t.Errorf("the handler's token %d is not above fn's %d", own, fence)
		}
		if s := f.log.State(r.ID); s != "compensated" {
			t.Errorf("the record is %q", s)
		}
	})
}

func TestPanicAndGoexitOfFnPassThroughAndAreFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		f.run(j)
		func() {
			defer func() {
				if p := recover(); p != "boom" {
					t.Errorf("recovered %v", p)
				}
			}()
			_ = j.Do(t.Context(), "k", charge("p"), func(context.Context) error { panic("boom") })
		}()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = j.Do(t.Context(), "k", charge("p"), func(context.Context) error { runtime.Goexit(); return nil })
		}()
		<-done
		time.Sleep(5 * time.Second)
		if got := reasons(f.called()); !slices.Equal(got, []journal.Reason{journal.Failed, journal.Failed}) {
			t.Errorf("reasons %v, want failed twice", got)
		}
	})
}

func TestRunThatLostItsLeaseIsLateWhateverFnReturns(t *testing.T) {
	for _, fnErr := range []error{nil, errWork} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t)
			j := f.journal(nothing)
			f.run(j)
			err := j.Do(t.Context(), "k", charge("p"), func(ctx context.Context) error {
				f.store.Expire("k")
				<-ctx.Done()
				return fnErr
			})
			if !errors.Is(err, guard.ErrLost) {
				t.Errorf("Do() = %v, want ErrLost", err)
			}
			time.Sleep(5 * time.Second)
			if got := reasons(f.called()); !slices.Equal(got, []journal.Reason{journal.Late}) {
				t.Errorf("reasons %v, want late", got)
			}
		})
	}
}

func TestPanicAfterALossIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		f.run(j)
		func() {
			defer func() { _ = recover() }()
			_ = j.Do(t.Context(), "k", charge("p"), func(ctx context.Context) error {
				f.store.Expire("k")
				<-ctx.Done()
				panic("boom")
			})
		}()
		time.Sleep(5 * time.Second)
		if got := reasons(f.called()); !slices.Equal(got, []journal.Reason{journal.Late}) {
			t.Errorf("reasons %v, want late", got)
		}
	})
}

func TestLossThatTheReleaseFindsIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		f.run(j)
		err := j.Do(t.Context(), "k", charge("p"), func(context.Context) error {
			f.store.HoldFor("k", "other", ttl)
			return nil
		})
		if !errors.Is(err, guard.ErrLost) {
			t.Errorf("Do() = %v, want ErrLost", err)
		}
		time.Sleep(10 * time.Second)
		if got := reasons(f.called()); !slices.Equal(got, []journal.Reason{journal.Late}) {
			t.Errorf("reasons %v, want late", got)
		}
	})
}

func TestNestedLossOfAnotherKeyIsFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		f.run(j)
		_ = j.Do(t.Context(), "k", charge("p"), func(ctx context.Context) error {
			return f.g.Do(ctx, "other", func(ctx context.Context) error {
				f.store.Expire("other")
				<-ctx.Done()
				return nil
			})
		})
		time.Sleep(5 * time.Second)
		if got := reasons(f.called()); !slices.Equal(got, []journal.Reason{journal.Failed}) {
			t.Errorf("reasons %v, want failed", got)
		}
	})
}

func TestTooMuchDataIsRefusedBeforeAnythingRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		const most = 64 << 10
		err := j.Do(t.Context(), "k", journal.Op{Kind: "charge", Payload: make([]byte, most+1)}, func(context.Context) error {
			t.Error("fn ran")
			return nil
		})
		if !errors.Is(err, journal.ErrTooLarge) {
			t.Errorf("Do() = %v, want ErrTooLarge", err)
		}
		must(t, j.Do(t.Context(), "k", journal.Op{Kind: "charge", Payload: make([]byte, most-10)}, func(ctx context.Context) error {
			must(t, journal.Checkpoint(ctx, make([]byte, 10)))
			if err := journal.Checkpoint(ctx, make([]byte, 11)); !errors.Is(err, journal.ErrTooLarge) {
				t.Errorf("Checkpoint() = %v, want ErrTooLarge", err)
			}
			return nil
		}))
		for _, kind := range []string{"", "a\nb", strings.Repeat("x", 65)} {
			if err := j.Do(t.Context(), "k", journal.Op{Kind: kind}, func(context.Context) error { t.Error("fn ran"); return nil }); err == nil {
				t.Errorf("Do() with kind %q succeeded", kind)
			}
		}
	})
}

func TestCheckpointOutsideARunIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		if err := journal.Checkpoint(t.Context(), nil); !errors.Is(err, journal.ErrNoRun) {
			t.Errorf("Checkpoint() = %v, want ErrNoRun", err)
		}
		leaked := make(chan context.Context, 1)
		must(t, j.Do(t.Context(), "k", charge("p"), func(ctx context.Context) error { leaked <- ctx; return nil }))
		if err := journal.Checkpoint(context.WithoutCancel(<-leaked), nil); !errors.Is(err, journal.ErrNoRun) {
			t.Errorf("Checkpoint() = %v after fn, want ErrNoRun", err)
		}
	})
}

func TestCheckpointOfARunWhoseCompensationHasBegunIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		f.run(j)
		_ = j.Do(t.Context(), "k", charge("p"), func(ctx context.Context) error {
			f.store.Expire("k")
			time.Sleep(5 * time.Second) // deaf
			if err := journal.Checkpoint(context.WithoutCancel(ctx), []byte("x")); !errors.Is(err, guard.ErrLost) {
				t.Errorf("Checkpoint() = %v, want ErrLost", err)
			}
			return nil
		})
	})
}

func TestLogThatIsFullRefusesBeforeFn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing, journal.MaxOpen(1))
		must(t, j.Do(t.Context(), "a", charge("p"), func(ctx context.Context) error {
			err := j.Do(ctx, "b", charge("p"), func(context.Context) error { t.Error("fn ran"); return nil })
			if !errors.Is(err, journal.ErrFull) {
				t.Errorf("Do() = %v, want ErrFull", err)
			}
			return nil
		}))
		must(t, j.Do(t.Context(), "b", charge("p"), func(context.Context) error { return nil }))
	})
}

func TestOutcomeThatCannotBeStoredIsToldToObserversAndLeftOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var seen events
		j := f.journal(nothing, journal.Observe(&seen))
		down := errors.New("down")
		must(t, j.Do(t.Context(), "k", charge("p"), func(context.Context) error {
			f.log.Fail(down)
			return nil
		}))
		if e := seen.last(journal.EventUnstored); e == nil || !errors.Is(e.Err, down) || e.Record.Key != "k" {
			t.Errorf("the observer was told %+v", e)
		}
		f.log.Fail(nil)
		if s := f.stats(j); s.Open != 1 {
			t.Errorf("Stats() = %+v, want the record open", s)
		}
		f.run(j)
		time.Sleep(5 * time.Second)
		if got := reasons(f.called()); !slices.Equal(got, []journal.Reason{journal.Abandoned}) {
			t.Errorf("reasons %v, want abandoned", got)
		}
	})
}

func TestOutcomeIsStoredAgainAfterAHiccupOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		must(t, j.Do(t.Context(), "k", charge("p"), func(context.Context) error {
			f.log.Fail(errors.New("down"))
			time.AfterFunc(time.Second, func() { f.log.Fail(nil) })
			return nil
		}))
		if s := f.stats(j); s.Open != 0 {
			t.Errorf("Stats() = %+v, want none open", s)
		}
	})
}

func TestLimitAndSharedGuardsAreRefused(t *testing.T) {
	f := newFleet(t)
	for _, opt := range []guard.Option{guard.Limit(1), guard.Limit(2), guard.Shared()} {
		if _, err := journal.New(f.guard(opt), f.log); err == nil {
			t.Error("New() took a guard without a key of its own")
		}
	}
	for _, opt := range []journal.Option{journal.MaxAttempts(0), journal.MaxOpen(0), journal.Retain(time.Millisecond), journal.OnDead(nil), journal.Observe(nil), nil} {
		if _, err := journal.New(f.g, f.log, opt); err == nil {
			t.Error("New() took an option that is out of bounds")
		}
	}
}

func TestMisuseOfHandlePanics(t *testing.T) {
	j := newFleet(t).journal(nothing)
	for name, misuse := range map[string]func(){
		"second handler": func() { j.Handle("charge", nothing) },
		"nil handler":    func() { j.Handle("other", nil) },
		"empty kind":     func() { j.Handle("", nothing) },
		"nil fn":         func() { _ = j.Do(t.Context(), "k", charge(""), nil) },
	} {
		func() {
			defer func() {
				if p, _ := recover().(string); !strings.HasPrefix(p, "journal: ") {
					t.Errorf("%s: recovered %q", name, p)
				}
			}()
			misuse()
		}()
	}
}

func TestPayloadIsKeptAsItWasWhenDoWasCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		f.run(j)
		payload := []byte("before")
		_ = j.Do(t.Context(), "k", journal.Op{Kind: "charge", Payload: payload}, func(context.Context) error {
			copy(payload, "AFTER!")
			return errWork
		})
		time.Sleep(5 * time.Second)
		if got := f.called(); len(got) != 1 || !bytes.Equal(got[0].Payload, []byte("before")) {
			t.Errorf("the handler got %+v", got)
		}
	})
}

// stopped is a log whose process is stopped between the release and the outcome.
type stopped struct {
	*guardtest.Log
	length time.Duration
}

func (s stopped) End(ctx context.Context, e record.End) error {
	time.Sleep(s.length)
	return s.Log.End(context.WithoutCancel(ctx), e)
}

func TestDoneRunThatWasCompensatedMeanwhileIsALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.run(f.journal(nothing))
		var logged bytes.Buffer
		defer slog.SetDefault(slog.Default())
		slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
		j, err := journal.New(f.guard(), stopped{f.log, 5 * time.Second})
		must(t, err)
		j.Handle("other", nothing)
		err = j.Do(t.Context(), "k", journal.Op{Kind: "charge"}, func(context.Context) error { return nil })
		if !errors.Is(err, guard.ErrLost) {
			t.Errorf("Do() = %v though a handler was called, want ErrLost", err)
		}
		time.Sleep(time.Minute)
		calls := f.called()
		if len(calls) != 2 || calls[0].Reason != journal.Abandoned || calls[1].Reason != journal.Late {
			t.Errorf("the handler was called with %+v, want Abandoned, then Late", calls)
		}
		if strings.Contains(logged.String(), "no handler here") {
			t.Errorf("it says that a record waits for a handler, which has one:\n%s", &logged)
		}
	})
}

func TestShutdownWaitsForTheOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		g := f.guard()
		j, err := journal.New(g, &slowEnd{Log: f.log, by: 500 * time.Millisecond})
		must(t, err)
		done := make(chan error)
		go func() {
			done <- j.Do(t.Context(), "k", charge("p"), func(context.Context) error { return nil })
		}()
		time.Sleep(100 * time.Millisecond) // released, and not stored yet
		must(t, g.Shutdown(t.Context()))
		if s := f.stats(j); s.Open != 0 {
			t.Errorf("Stats() = %+v: whoever closes the client now loses the outcome", s)
		}
		must(t, <-done)
	})
}

// mute is a log that does not answer intents.
type mute struct{ *guardtest.Log }

func (mute) Begin(ctx context.Context, _ record.Intent) ([]record.Open, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestIntentThatGetsNoAnswerIsGivenUpAndTheKeyFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j, err := journal.New(f.g, mute{f.log})
		must(t, err)
		start := time.Now()
		err = j.Do(t.Context(), "k", charge("p"), func(context.Context) error { t.Error("fn ran"); return nil })
		if took := time.Since(start); took > 11*time.Second {
			t.Errorf("Do() took %v", took)
		}
		if !errors.Is(err, guard.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "journal's log is unavailable") {
			t.Errorf("Do() = %v, want ErrUnavailable that means the log, and no deadline of the caller", err)
		}
		must(t, f.guard(guard.Wait(0)).Do(t.Context(), "k", func(context.Context) error { return nil }))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := j.Do(ctx, "k", charge("p"), func(context.Context) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do() = %v, want the caller's deadline", err)
		}
	})
}

// The outcome of an Ordered run is stored before the release: done, as far as fn knows.
func TestRevocationThatTheReleaseFindsIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j, err := journal.New(f.guard(), &slowEnd{Log: f.log, by: 500 * time.Millisecond}, journal.Ordered())
		must(t, err)
		j.Handle("charge", f.recorded(nothing))
		f.run(j)
		done := make(chan error)
		go func() {
			done <- j.Do(t.Context(), "k", charge("p"), func(context.Context) error { return nil })
		}()
		time.Sleep(300 * time.Millisecond)
		must(t, f.store.Revoke("k", "by the test"))
		if err := <-done; !errors.Is(err, guard.ErrRevoked) {
			t.Errorf("Do() = %v, want ErrRevoked", err)
		}
		time.Sleep(10 * time.Second)
		if got := reasons(f.called()); !slices.Equal(got, []journal.Reason{journal.Late}) {
			t.Errorf("reasons %v, want late", got)
		}
	})
}

func TestIDIsThatOfTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(func(ctx context.Context, _ journal.Record) error {
			if id := journal.ID(ctx); id != "" {
				t.Errorf("ID() = %q in a handler", id)
			}
			return nil
		})
		f.run(j)
		var outer, inner string
		_ = j.Do(t.Context(), "k", charge("p"), func(ctx context.Context) error {
			outer = journal.ID(ctx)
			must(t, j.Do(ctx, "other", charge("p"), func(ctx context.Context) error { inner = journal.ID(ctx); return nil }))
			return errWork
		})
		time.Sleep(5 * time.Second)
		if got := f.called(); len(got) != 1 || got[0].ID != outer || inner == "" || inner == outer {
			t.Errorf("ID() = %q, of a nested run %q; the handler got %+v", outer, inner, got)
		}
		if id := journal.ID(t.Context()); id != "" {
			t.Errorf("ID() = %q outside of a run", id)
		}
	})
}

// late is a log that a first checkpoint reaches after its caller has given up.
type late struct {
	*guardtest.Log
	arrive chan struct{}
}

func (l late) Checkpoint(ctx context.Context, at record.Ref, n int64, data []byte) error {
	if n == 1 {
		go func() {
			<-l.arrive
			_ = l.Log.Checkpoint(context.WithoutCancel(ctx), at, n, data)
			l.arrive <- struct{}{}
		}()
		<-ctx.Done()
		return ctx.Err()
	}
	return l.Log.Checkpoint(ctx, at, n, data)
}

func TestCheckpointThatArrivesLateDoesNotReplaceALaterOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		log := late{f.log, make(chan struct{})}
		j, err := journal.New(f.guard(), log)
		must(t, err)
		f.run(f.journal(nothing))
		release := make(chan struct{})
		defer close(release)
		go func() {
			_ = j.Do(t.Context(), "k", charge("p"), func(ctx context.Context) error {
				short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
				if err := journal.Checkpoint(short, []byte("first")); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Checkpoint() = %v", err)
				}
				must(t, journal.Checkpoint(ctx, []byte("second")))
				log.arrive <- struct{}{}
				<-log.arrive
				f.store.HoldFor("k", "thief", ttl) // and the process is as good as dead
				<-release
				return nil
			})
		}()
		time.Sleep(20 * time.Second)
		if got := f.called(); len(got) != 1 || string(got[0].Checkpoint) != "second" {
			t.Errorf("the handler got %+v, want the second checkpoint", got)
		}
	})
}
