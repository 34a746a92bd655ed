package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/record"
)

// crash leaves the record of a run that died under the key: the key is held until ttl
// has passed.
func (f *fleet) crash(key string) (id string) {
	f.t.Helper()
	fence := time.Now().UnixMicro()
	f.store.HoldFor(key, "dead:1", ttl)
	id = fmt.Sprint("crashed-", key, "-", fence)
	_, err := f.log.Begin(f.t.Context(), record.Intent{
		Record: record.Record{ID: id, Kind: "charge", Key: key, Payload: []byte("p"), Fence: fence},
		Due:    ttl, MaxOpen: 1 << 20,
	})
	must(f.t, err)
	return id
}

func TestRunOfADeadProcessIsAbandonedOnceItsLeaseHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.run(f.journal(nothing))
		start := time.Now()
		id := f.crash("k")
		time.Sleep(20 * time.Second)
		got := f.called()
		if len(got) != 1 || got[0].Reason != journal.Abandoned || got[0].ID != id {
			t.Fatalf("the handler got %+v, want one abandoned record", got)
		}
		if after := f.when[0].Sub(start); after < ttl || after > 5*time.Second {
			t.Errorf("compensated after %v, want soon after the lease's end at 1s", after)
		}
	})
}

func TestRunThatGoesOnIsLeftAloneHoweverLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		for range 3 {
			f.run(f.journal(nothing))
		}
		j := f.journal(nil)
		must(t, j.Do(t.Context(), "k", charge("p"), func(context.Context) error {
			time.Sleep(time.Hour)
			if n := len(f.called()); n > 0 {
				t.Errorf("the handler was called %d times for a run that goes on", n)
			}
			return nil
		}))
		time.Sleep(time.Hour)
		if n := len(f.called()); n > 0 {
			t.Errorf("the handler was called %d times", n)
		}
	})
}

func TestHotKeyDoesNotStarveTheSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.run(f.journal(nothing))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 8 { // the key is never free
			g := f.guard()
			go func() {
				for ctx.Err() == nil {
					_ = g.Do(ctx, "k", func(context.Context) error { time.Sleep(300 * time.Millisecond); return nil })
				}
			}()
		}
		time.Sleep(time.Second)
		_, err := f.log.Begin(t.Context(), record.Intent{Record: record.Record{ID: "x", Kind: "charge", Key: "k", Fence: 1}, Due: ttl, MaxOpen: 9})
		must(t, err)
		time.Sleep(time.Minute)
		if got := reasons(f.called()); !slices.Equal(got, []journal.Reason{journal.Abandoned}) {
			t.Errorf("reasons %v, want abandoned", got)
		}
		cancel()
		time.Sleep(time.Minute)
	})
}

func TestKeysWhoseRunsHangDoNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.run(f.journal(nothing))
		hung, release := f.journal(nil), make(chan struct{})
		defer close(release)
		for i := range 300 {
			go func() {
				_ = hung.Do(t.Context(), fmt.Sprint("hung", i), charge("p"), func(context.Context) error { <-release; return nil })
			}()
		}
		time.Sleep(5 * time.Minute)
		start := time.Now()
		f.crash("k")
		time.Sleep(time.Minute)
		got := f.called()
		if len(got) != 1 || got[0].Key != "k" {
			t.Fatalf("the handler got %+v, want the abandoned record", got)
		}
		if after := f.when[0].Sub(start); after > 5*time.Second {
			t.Errorf("compensated after %v beside 300 runs that hang", after)
		}
	})
}

func TestHandlerThatFailsIsCalledAgainWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var seen events
		tries := 0
		f.run(f.journal(func(context.Context, journal.Record) error {
			if tries++; tries < 4 {
				return errors.New("not yet")
			}
			return nil
		}, journal.Observe(&seen)))
		f.crash("k")
		time.Sleep(time.Minute)
		got := f.called()
		if len(got) != 4 {
			t.Fatalf("the handler was called %d times, want 4", len(got))
		}
		for i, r := range got {
			if r.Attempt != i+1 || r.Reason != journal.Abandoned {
				t.Errorf("call %d: attempt %d, reason %s", i+1, r.Attempt, r.Reason)
			}
			if i > 0 && r.Err != "not yet" {
				t.Errorf("call %d: error %q, want the last handler's", i+1, r.Err)
			}
			lo := 500 * time.Millisecond << max(0, i-1)
			if i > 0 && (f.when[i].Sub(f.when[i-1]) < lo || f.when[i].Sub(f.when[i-1]) > 2*lo+2*time.Second) {
				t.Errorf("call %d came %v after the one before", i+1, f.when[i].Sub(f.when[i-1]))
			}
		}
		if seen.count(journal.EventRetry) != 3 || seen.count(journal.EventCompensated) != 1 {
			t.Errorf("events %+v", seen.all)
		}
	})
}

func TestRecordIsDeadAfterTheLastAttemptAndCanBeRequeuedOrDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var dead []journal.Record
		broken := true
		j := f.journal(func(context.Context, journal.Record) error {
			if broken {
				panic("poison")
			}
			return nil
		}, journal.MaxAttempts(3), journal.OnDead(func(r journal.Record) { dead = append(dead, r) }))
		f.run(j)
		a := f.crash("a")
		time.Sleep(time.Minute)
		b := f.crash("b")
		time.Sleep(time.Hour)
		if n := len(f.called()); n != 6 {
			t.Errorf("the handler was called %d times, want 3 for each record", n)
		}
		if len(dead) != 2 || dead[0].ID != a || dead[1].ID != b || dead[0].Attempt != 3 || !strings.Contains(dead[0].Err, "poison") {
			t.Errorf("OnDead got %+v", dead)
		}
		if s := f.stats(j); s.Open != 0 || s.Dead != 2 {
			t.Errorf("Stats() = %+v, want 2 dead", s)
		}
		var ids []string
		for r, err := range j.Dead(t.Context()) {
			must(t, err)
			ids = append(ids, r.ID)
		}
		if !slices.Equal(ids, []string{a, b}) {
			t.Errorf("Dead() gives %v", ids)
		}
		broken = false
		must(t, j.Requeue(t.Context(), a))
		must(t, j.Drop(t.Context(), b))
		time.Sleep(5 * time.Second)
		got := f.called()
		if last := got[len(got)-1]; len(got) != 7 || last.ID != a || last.Attempt != 1 {
			t.Errorf("after Requeue the handler got %+v", last)
		}
		for _, err := range []error{j.Requeue(t.Context(), a), j.Drop(t.Context(), b), j.Drop(t.Context(), "unknown")} {
			if !errors.Is(err, journal.ErrNotFound) {
				t.Errorf("%v, want ErrNotFound", err)
			}
		}
		if s := f.stats(j); s != (journal.Stats{}) {
			t.Errorf("Stats() = %+v at the end", s)
		}
	})
}

func TestRunThatFinishesAfterItsCompensationBeganIsToldOnceMoreAsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var seen events
		j := f.journal(nothing, journal.Observe(&seen))
		f.run(j)
		_ = j.Do(t.Context(), "k", charge("p"), func(ctx context.Context) error {
			must(t, journal.Checkpoint(ctx, []byte("half")))
			f.store.Expire("k")
			time.Sleep(10 * time.Second) // deaf
			if got := reasons(f.called()); !slices.Equal(got, []journal.Reason{journal.Abandoned}) {
				t.Errorf("reasons %v before the end, want abandoned", got)
			}
			return nil
		})
		time.Sleep(10 * time.Second)
		got := f.called()
		if !slices.Equal(reasons(got), []journal.Reason{journal.Abandoned, journal.Late}) {
			t.Fatalf("reasons %v, want abandoned, late", reasons(got))
		}
		if r := got[1]; r.ID != got[0].ID || r.Attempt != 1 || string(r.Payload) != "p" || string(r.Checkpoint) != "half" {
			t.Errorf("the late record is %+v", r)
		}
		if seen.count(journal.EventLate) != 1 {
			t.Errorf("events %+v, want one late", seen.all)
		}
	})
}

func TestRunThatFinishesWhileItsHandlerRunsIsToldOnceMoreAsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(func(context.Context, journal.Record) error { time.Sleep(10 * time.Second); return nil })
		f.run(j)
		_ = j.Do(t.Context(), "k", charge("p"), func(context.Context) error {
			f.store.Expire("k")
			time.Sleep(5 * time.Second)
			return nil
		})
		time.Sleep(time.Minute)
		if got := reasons(f.called()); !slices.Equal(got, []journal.Reason{journal.Abandoned, journal.Late}) {
			t.Errorf("reasons %v, want abandoned, late", got)
		}
	})
}

func TestRecordTellsOfLaterRunsOnItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		f.crash("k")
		time.Sleep(ttl)
		var later int64
		must(t, j.Do(t.Context(), "k", charge("p"), func(ctx context.Context) error {
			later, _ = guard.Fence(ctx)
			return nil
		}))
		f.run(j)
		time.Sleep(5 * time.Second)
		if got := f.called(); len(got) != 1 || got[0].LatestFence != later || got[0].Fence >= later {
			t.Errorf("the handler got %+v, want latest fence %d", got, later)
		}
	})
}

func TestKindWithoutAHandlerStaysOpenAndIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		j := f.journal(nothing)
		f.run(j)
		for i := range 200 { // more than there are slots
			_ = j.Do(t.Context(), fmt.Sprint(i), journal.Op{Kind: "unknown"}, func(context.Context) error { return errWork })
		}
		f.crash("k")
		time.Sleep(time.Hour)
		if got := f.called(); len(got) != 1 {
			t.Errorf("the handler of another kind was called %d times, want once", len(got))
		}
		if s := f.stats(j); s.Open != 200 {
			t.Errorf("Stats() = %+v, want 200 open", s)
		}
		j.Handle("unknown", f.recorded(nothing))
		time.Sleep(time.Minute)
		if s := f.stats(j); s.Open != 0 {
			t.Errorf("Stats() = %+v once there is a handler", s)
		}
	})
}

func TestKindWithoutAHandlerIsSaidOnceByAProcessThatHasHandlers(t *testing.T) {
	old := slog.Default()
	defer slog.SetDefault(old)
	for name, c := range map[string]struct {
		handler func(context.Context, journal.Record) error
		fn      func(context.Context) error
		kind    string
		want    int
	}{
		"an error":           {nothing, func(context.Context) error { return errWork }, "chrage", 1},
		"a panic":            {nothing, func(context.Context) error { panic("boom") }, "chrage", 1},
		"a good end":         {nothing, func(context.Context) error { return nil }, "chrage", 0},
		"its own kind":       {nothing, func(context.Context) error { return errWork }, "charge", 0},
		"it has no handlers": {nil, func(context.Context) error { return errWork }, "chrage", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			var logged bytes.Buffer
			slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
			f := newFleet(t)
			j := f.journal(c.handler)
			for range 3 {
				func() {
					defer func() { _ = recover() }()
					_ = j.Do(t.Context(), "k", journal.Op{Kind: c.kind}, c.fn)
				}()
			}
			synctest.Wait()
			if n := strings.Count(logged.String(), "no handler here is for its kind"); n != c.want {
				t.Errorf("%s: said %d times, want %d:\n%s", name, n, c.want, logged.String())
			}
		})
	}
}

func TestReplicasShareTheWorkAndCallEachHandlerOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		const replicas, runs = 4, 400
		var by [replicas]atomic.Int32
		for i := range by {
			f.run(f.journal(func(context.Context, journal.Record) error {
				by[i].Add(1)
				time.Sleep(100 * time.Millisecond)
				return nil
			}))
		}
		for i := range runs {
			f.crash(fmt.Sprint("k", i))
		}
		time.Sleep(5 * time.Minute)
		if n := len(f.called()); n != runs {
			t.Errorf("handlers were called %d times for %d records", n, runs)
		}
		for i := range by {
			if n := by[i].Load(); n == 0 {
				t.Errorf("replica %d did nothing", i)
			}
		}
	})
}

func TestHandlerWhoseLeaseIsLostIsCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		first := true
		f.run(f.journal(func(ctx context.Context, _ journal.Record) error {
			if first {
				first = false
				f.store.Expire("k")
				<-ctx.Done()
			}
			return nil
		}))
		f.crash("k")
		time.Sleep(time.Minute)
		if n := len(f.called()); n != 2 {
			t.Errorf("the handler was called %d times, want 2", n)
		}
	})
}

func TestRunEndsItsHandlersAndWaitsForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		ended := false
		stop := f.run(f.journal(func(ctx context.Context, _ journal.Record) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return ctx.Err()
		}))
		f.crash("k")
		time.Sleep(10 * time.Second)
		stop()
		if !ended {
			t.Error("Run returned before its handler")
		}
	})
}

func TestRunReturnsErrClosedAfterShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		g := f.guard()
		j, err := journal.New(g, f.log)
		must(t, err)
		j.Handle("charge", nothing)
		done := make(chan error)
		go func() { done <- j.Run(t.Context()) }()
		time.Sleep(time.Minute) // nothing is due
		must(t, g.Shutdown(t.Context()))
		if err := <-done; !errors.Is(err, guard.ErrClosed) {
			t.Errorf("Run() = %v, want ErrClosed", err)
		}
		f.crash("k")
		if err := j.Run(t.Context()); !errors.Is(err, guard.ErrClosed) {
			t.Errorf("Run() = %v, want ErrClosed", err)
		}
	})
}

func TestSweeperSurvivesAnOutageOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var seen events
		f.run(f.journal(nothing, journal.Observe(&seen)))
		f.crash("k")
		f.log.Fail(errors.New("down"))
		time.Sleep(time.Minute)
		if n := seen.count(journal.EventSweepFailed); n < 10 || n > 30 {
			t.Errorf("%d sweeps failed in a minute, want a pause of up to 5s between them", n)
		}
		f.log.Fail(nil)
		time.Sleep(10 * time.Second)
		if n := len(f.called()); n != 1 {
			t.Errorf("the handler was called %d times after the outage", n)
		}
	})
}

func TestOutcomeThatTravelsBesideTheReleaseIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		slow := &slowEnd{Log: f.log, by: 200 * time.Millisecond}
		j, err := journal.New(f.guard(), slow)
		must(t, err)
		f.run(f.journal(nothing))
		must(t, j.Do(t.Context(), "k", charge("p"), func(context.Context) error {
			time.Sleep(10 * time.Second) // so that a sweeper waits for the key
			return nil
		}))
		time.Sleep(time.Minute)
		if n := len(f.called()); n != 0 {
			t.Errorf("the handler was called %d times for a run that was done", n)
		}
	})
}

// slowEnd is a log that the outcome reaches late.
type slowEnd struct {
	*guardtest.Log
	by time.Duration
}

func (s *slowEnd) End(ctx context.Context, e record.End) error {
	time.Sleep(s.by)
	return s.Log.End(ctx, e)
}

func TestSweeperOfAReplacingGuardStopsNoRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		replacing := func() *journal.Journal {
			j, err := journal.New(f.guard(guard.Replace()), f.log)
			must(t, err)
			j.Handle("charge", f.recorded(nothing))
			return j
		}
		f.run(replacing())
		must(t, replacing().Do(t.Context(), "k", journal.Op{Kind: "charge"}, func(ctx context.Context) error {
			time.Sleep(5 * time.Minute)
			return context.Cause(ctx)
		}))
		if n := len(f.called()); n != 0 {
			t.Errorf("%d calls of the handler", n)
		}
	})
}

// While hundreds of keys are held, those that are free are found all the same.
func TestKeyThatIsFreeIsFoundWhileManyAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.run(f.journal(nothing))
		hung, release := f.journal(nil), make(chan struct{})
		defer close(release)
		for i := range 500 {
			go func() {
				_ = hung.Do(t.Context(), fmt.Sprint("hung", i), charge("p"), func(context.Context) error { <-release; return nil })
			}()
		}
		time.Sleep(5 * time.Minute)
		for i := range 20 { // found held at first
			f.crash(fmt.Sprint("k", i))
			f.store.HoldFor(fmt.Sprint("k", i), "other", 10*time.Second)
		}
		time.Sleep(time.Minute)
		if got := f.called(); len(got) != 20 {
			t.Errorf("%d of 20 abandoned records were compensated within a minute", len(got))
		}
	})
}

// names is a guard's Observer that keeps the names of acquires.
type names struct {
	guard.ObserverDefaults

	mu  sync.Mutex
	all map[string]int
}

func (n *names) AcquireStart(ctx context.Context, a guard.AcquireStart) context.Context {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all == nil {
		n.all = make(map[string]int)
	}
	n.all[a.Name]++
	return ctx
}

// A long run is no contention.
func TestSweeperAcquiresUnderANameOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, want := range map[string]string{"orders": "orders journal", "": "journal"} {
			f := newFleet(t)
			var seen names
			j, err := journal.New(f.guard(guard.Name(name), guard.Observe(&seen)), f.log)
			must(t, err)
			j.Handle("charge", nothing)
			stop := f.run(j)
			must(t, j.Do(t.Context(), "k", charge("p"), func(context.Context) error { time.Sleep(time.Minute); return nil }))
			stop()
			if seen.all[name] != 1 || seen.all[want] == 0 || len(seen.all) != 2 {
				t.Errorf("acquires by name: %v, want one of %q and the sweeper's of %q", seen.all, name, want)
			}
		}
	})
}
