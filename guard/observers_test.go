package guard_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestObserverIsToldOfAllThatWasCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, a, b := twoProcesses(t)
		obs := &recorder{}
		err := a.With(guard.Observe(obs)).DoAll(t.Context(), []string{"a", "b"}, func(ctx context.Context) error {
			time.Sleep(5 * time.Second)
			for i, k := range []string{"a", "b"} {
				if token, _ := guard.FenceOf(ctx, k); obs.acquired[i].Fence != token || obs.acquired[i].Attempts != 1 {
					t.Errorf("AcquireEnd %+v, want token %d and one attempt", obs.acquired[i], token)
				}
			}
			return nil
		})
		if err != nil || obs.ended[0].Renewals != 2 {
			t.Errorf("DoAll() = %v with %d renewals, want one of each key", err, obs.ended[0].Renewals)
		}
		store.Hold("k", "deploy-script")
		_ = b.With(guard.Observe(obs), guard.Wait(0)).Do(t.Context(), "k", nothing)
		if e := obs.acquired[2]; e.Holder != "deploy-script" || !errors.Is(e.Err, guard.ErrBusy) {
			t.Errorf("AcquireEnd %+v, want ErrBusy and the holder", e)
		}
	})
}

func TestNestedRunDoesNotTakeTheOuterObserversEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guardtest.NewStore())
		outer, inner := &recorder{}, &recorder{}
		err := g.With(guard.Observe(outer)).Do(t.Context(), "k", func(ctx context.Context) error {
			err := g.With(guard.Observe(inner)).DoAll(ctx, []string{"k", "other"}, nothing)
			time.Sleep(5 * time.Second)
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if !outer.saw(guard.EventRenewed) || inner.saw(guard.EventRenewed) {
			t.Errorf("outer saw %v, inner %v", outer.log, inner.log)
		}
	})
}

// tagged writes its tag into a log that several observers share.
type tagged struct {
	tag string
	log *[]string
}

func (o tagged) note(ctx context.Context, what string) context.Context {
	*o.log = append(*o.log, o.tag+" "+what)
	return ctx
}

func (o tagged) AcquireStart(ctx context.Context, _ guard.AcquireStart) context.Context {
	o.note(ctx, "acquire start")
	return nil // as a careless observer might
}
func (o tagged) AcquireEnd(ctx context.Context, _ guard.AcquireEnd) { o.note(ctx, "acquire end") }
func (o tagged) RunStart(ctx context.Context, _ guard.RunStart) context.Context {
	return o.note(ctx, "run start")
}
func (o tagged) RunEnd(ctx context.Context, _ guard.RunEnd) { o.note(ctx, "run end") }
func (o tagged) Event(ctx context.Context, _ guard.Event)   { o.note(ctx, "event") }
func (o tagged) Metadata(context.Context) string            { return o.tag }

func TestObserversWrapEachOther(t *testing.T) {
	var log []string
	store := guardtest.NewStore()
	g := newGuard(t, store, guard.Observe(tagged{"a", &log}), guard.Observe(tagged{"b", &log}))
	err := g.Do(t.Context(), "k", func(context.Context) error {
		if owner, _ := store.Holder("k"); lease.Metadata(owner) != "a" {
			t.Errorf("metadata %q, want that of the first", lease.Metadata(owner))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	want := "a acquire start, b acquire start, b acquire end, a acquire end, " +
		"a run start, b run start, b run end, a run end"
	if got := strings.Join(log, ", "); got != want {
		t.Errorf("saw %s\nwant %s", got, want)
	}
}

func TestVariantsOfAGuardDoNotShareObservers(t *testing.T) {
	g := newGuard(t, guardtest.NewStore())
	for range 3 { // an array with room for one more
		g = g.With(guard.Observe(&recorder{}))
	}
	first, second := &recorder{}, &recorder{}
	a, b := g.With(guard.Observe(first)), g.With(guard.Observe(second))
	if err := errors.Join(a.Do(t.Context(), "k", nothing), b.Do(t.Context(), "k", nothing)); err != nil {
		t.Error(err)
	}
	if len(first.log) != 4 || len(second.log) != 4 {
		t.Errorf("the first saw %q, the second %q", first.log, second.log)
	}
}

func TestLogObserverWritesWhoAndHowBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		store := guardtest.NewStore()
		log := guard.LogObserver(slog.New(slog.NewTextHandler(&out, nil)))
		g := newGuard(t, store, guard.Observe(log), guard.Name("orders"), guard.Wait(0))
		_ = g.Do(t.Context(), "k", func(context.Context) error {
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew, Err: errors.New("LOADING"), Times: 1})
			time.Sleep(5 * time.Second)
			return nil
		})
		store.Fail(errors.New("connection refused"))
		_ = g.Do(t.Context(), "k", nothing)
		store.Fail(nil)
		for _, want := range []string{
			`level=INFO msg="guard: renew failed" name=orders`,
			`level=WARN msg="guard: not acquired" name=orders`,
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in %q", want, out.String())
			}
		}
	})
}

func TestLossFoundByTheReleaseIsObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		obs := &recorder{}
		g := newGuard(t, store, guard.Observe(obs))
		_ = g.Do(t.Context(), "k", func(context.Context) error { store.Hold("k", "thief"); return nil })
		if got := strings.Join(obs.log, ", "); got != "acquire start, acquire end, run start, lost, run end" {
			t.Errorf("saw %s", got)
		}
	})
}

// slow is a recorder that takes its time over events.
type slow struct{ recorder }

func (s *slow) Event(ctx context.Context, e guard.Event) {
	time.Sleep(5 * time.Millisecond)
	s.recorder.Event(ctx, e)
}

func TestEveryEventOfARunIsToldBeforeItsEnd(t *testing.T) {
	for name, waiters := range map[string]int{"released": 0, "handed on": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				g := newGuard(t, store)
				obs := &slow{}
				observed := g.With(guard.Observe(obs))
				end, _ := hold(t, g, "k")
				var wg sync.WaitGroup
				wg.Go(func() {
					err := observed.Do(t.Context(), "k", func(ctx context.Context) error {
						time.Sleep(time.Millisecond)
						go func() { _ = guard.Ensure(ctx, 9*time.Second) }() // renews
						time.Sleep(time.Millisecond)
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				})
				synctest.Wait()
				for range waiters {
					wg.Go(func() { _ = g.Do(t.Context(), "k", nothing) })
				}
				synctest.Wait()
				end()
				wg.Wait()
				if n := len(obs.log); !slices.Equal(obs.log[n-2:], []string{"renewed", "run end"}) {
					t.Errorf("saw %s", strings.Join(obs.log, ", "))
				}
			})
		})
	}
}

// starts remembers what it was told of the beginning of runs.
type starts struct {
	recorder
	started []guard.RunStart
}

func (s *starts) RunStart(ctx context.Context, r guard.RunStart) context.Context {
	s.started = append(s.started, r)
	return s.recorder.RunStart(ctx, r)
}

func TestNestedRunsUnderTheSameLeaseAreNotReported(t *testing.T) {
	obs := &starts{}
	g := newGuard(t, guardtest.NewStore(), guard.Observe(obs), guard.Name("orders"), guard.TTL(time.Minute))
	var token int64
	err := g.Do(t.Context(), "k", func(ctx context.Context) error {
		token, _ = guard.Fence(ctx)
		return g.Do(ctx, "k", nothing)
	})
	if err != nil {
		t.Error(err)
	}
	if got := strings.Join(obs.log, ", "); got != "acquire start, acquire end, run start, run end" {
		t.Errorf("saw %s", got)
	}
	if r := obs.started[0]; r.Name != "orders" || r.TTL != time.Minute || len(r.Keys) != 1 || r.Keys[0] != "k" || r.Tokens[0] != token {
		t.Errorf("RunStart %+v, want key k with token %d", r, token)
	}
}
