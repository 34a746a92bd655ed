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
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// recorder is an Observer that remembers.
type recorder struct {
	mu       sync.Mutex
	log      []string
	asked    []string // keys
	acquired []guard.AcquireEnd
	ctxErr   []error // of the contexts at each AcquireEnd
	started  []guard.RunStart
	ended    []guard.RunEnd
	events   []guard.Event
	text     string // what it sends along
}

type mark string

func (r *recorder) add(s string, f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, s)
	if f != nil {
		f()
	}
}

func (r *recorder) AcquireStart(ctx context.Context, s guard.AcquireStart) context.Context {
	r.add("acquire start", func() { r.asked = append(r.asked, s.Key) })
	return context.WithValue(ctx, mark("acquire"), true)
}

func (r *recorder) AcquireEnd(ctx context.Context, a guard.AcquireEnd) {
	if ctx.Value(mark("acquire")) == nil {
		r.add("AcquireEnd without AcquireStart's context", nil)
	}
	r.add("acquire end", func() { r.acquired, r.ctxErr = append(r.acquired, a), append(r.ctxErr, ctx.Err()) })
}

func (r *recorder) RunStart(ctx context.Context, s guard.RunStart) context.Context {
	r.add("run start", func() { r.started = append(r.started, s) })
	return context.WithValue(ctx, mark("run"), true)
}

func (r *recorder) RunEnd(ctx context.Context, e guard.RunEnd) {
	if ctx.Value(mark("run")) == nil {
		r.add("RunEnd without RunStart's context", nil)
	}
	r.add("run end", func() { r.ended = append(r.ended, e) })
}

func (r *recorder) Event(_ context.Context, e guard.Event) {
	r.add(e.Kind.String(), func() { r.events = append(r.events, e) })
}

func (r *recorder) Metadata(context.Context) string { return r.text }

// runEnds is for runs that may end on other goroutines.
func (r *recorder) runEnds() []guard.RunEnd {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ended)
}

func (r *recorder) losses() (lost []guard.Event) {
	for _, e := range r.events {
		if e.Kind == guard.EventLost {
			lost = append(lost, e)
		}
	}
	return lost
}

func (r *recorder) saw(k guard.EventKind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.events, func(e guard.Event) bool { return e.Kind == k })
}

func TestObserverSeesTheWholeLifeOfARun(t *testing.T) {
	obs := &recorder{}
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			if ctx.Value(mark("run")) == nil {
				t.Error("fn's context does not come from RunStart's")
			}
			time.Sleep(5 * time.Second)
			store.Expire("k")
			return untilDone(ctx)
		})
		wantError(t, err, guard.ErrLost)
		got := strings.Join(obs.log, ", ")
		if want := "acquire start, acquire end, run start, renewed, lost, run end"; got != want {
			t.Errorf("saw %s\nwant %s", got, want)
		}
		if e := obs.ended[0]; e.Name != "orders" || e.Renewals != 1 || !errors.Is(e.Err, guard.ErrLost) || e.Held < 6*time.Second {
			t.Errorf("RunEnd %+v", e)
		}
		if e := obs.events[0]; e.Left < 5*time.Second || e.Left > 9*time.Second || e.Fence == 0 || e.Key != "k" {
			t.Errorf("renewed: %+v", e)
		}
	}, guard.Observe(obs), guard.Name("orders"))
}

// bomb panics wherever it is called.
type bomb struct{}

func TestPanickingObserverBreaksNothing(t *testing.T) {
	old := slog.Default()
	defer slog.SetDefault(old)
	var logged bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))

	store := guardtest.NewStore()
	obs := &recorder{}
	g := newGuard(t, store, guard.Observe(bomb{}), guard.Observe(obs))
	noError(t, g.Do(t.Context(), "k", nothing))
	if got := strings.Join(obs.log, ", "); got != "acquire start, acquire end, run start, run end" {
		t.Errorf("the other observer saw %s", got)
	}
	if !strings.Contains(logged.String(), "Observer panicked") {
		t.Errorf("log: %q", logged.String())
	}
}

func TestNoEventFollowsRunEnd(t *testing.T) {
	obs := &recorder{}
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		nested := make(chan error, 1)
		noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
			in := make(chan struct{})
			go func() {
				nested <- g.Do(ctx, "k", func(context.Context) error {
					close(in)
					time.Sleep(20 * time.Second)
					return nil
				})
			}()
			<-in
			return nil
		}))
		noError(t, <-nested)
		if store.Calls(guardtest.OpRenew) == 0 {
			t.Error("nothing happened to the lease that could have been reported")
		}
		if got := strings.Join(obs.log, ", "); got != "acquire start, acquire end, run start, run end" {
			t.Errorf("the observer saw %s", got)
		}
	}, guard.Observe(obs))
}

// atStart panics when a run, or an acquire, starts.
type atStart struct {
	recorder
	acquire, run bool
}

func (a *atStart) AcquireStart(ctx context.Context, s guard.AcquireStart) context.Context {
	if a.acquire {
		panic("acquire")
	}
	return a.recorder.AcquireStart(ctx, s)
}

func (a *atStart) RunStart(ctx context.Context, s guard.RunStart) context.Context {
	if a.run {
		panic("run")
	}
	return a.recorder.RunStart(ctx, s)
}

func TestObserverThatPanickedAtAStartIsCalledNoMore(t *testing.T) {
	for name, c := range map[string]struct {
		obs  *atStart
		want string
	}{
		"acquire": {&atStart{acquire: true}, "run start, lost, run end"},
		"run":     {&atStart{run: true}, "acquire start, acquire end"},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := &recorder{}, &recorder{}
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				for range 2 { // so that the rest is not forgotten for good
					c.obs.log, before.log, after.log = nil, nil, nil
					_ = g.Do(t.Context(), "k", func(ctx context.Context) error { store.Expire("k"); return untilDone(ctx) })
					if got := strings.Join(c.obs.log, ", "); got != c.want {
						t.Errorf("it saw %q, want %q", got, c.want)
					}
					for _, other := range []*recorder{before, after} {
						if got := strings.Join(other.log, ", "); got != "acquire start, acquire end, run start, lost, run end" {
							t.Errorf("another saw %q", got)
						}
					}
				}
			}, guard.Observe(before), guard.Observe(c.obs), guard.Observe(after))
		})
	}
}

func TestObserverGetsAllThatWasCounted(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
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
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		outer, inner := &recorder{}, &recorder{}
		noError(t, g.With(guard.Observe(outer)).Do(t.Context(), "k", func(ctx context.Context) error {
			err := g.With(guard.Observe(inner)).DoAll(ctx, []string{"k", "other"}, nothing)
			time.Sleep(5 * time.Second)
			return err
		}))
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

func (o tagged) Event(ctx context.Context, _ guard.Event) { o.note(ctx, "event") }

func (o tagged) Metadata(context.Context) string { return o.tag }

func TestObserversWrapEachOther(t *testing.T) {
	var log []string
	store := guardtest.NewStore()
	g := newGuard(t, store, guard.Observe(tagged{"a", &log}), guard.Observe(tagged{"b", &log}))
	noError(t, g.Do(t.Context(), "k", func(context.Context) error {
		if owner, _ := store.Holder("k"); lease.Metadata(owner) != "a" {
			t.Errorf("metadata %q, want that of the first", lease.Metadata(owner))
		}
		return nil
	}))
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
	noError(t, errors.Join(a.Do(t.Context(), "k", nothing), b.Do(t.Context(), "k", nothing)))
	if len(first.log) != 4 || len(second.log) != 4 {
		t.Errorf("the first saw %q, the second %q", first.log, second.log)
	}
}

func TestNestedRunsUnderTheSameLeaseAreNotReported(t *testing.T) {
	obs := &recorder{}
	g := newGuard(t, guardtest.NewStore(), guard.Observe(obs), guard.Name("orders"), guard.TTL(time.Minute))
	var token int64
	noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
		token, _ = guard.Fence(ctx)
		return g.Do(ctx, "k", nothing)
	}))
	if got := strings.Join(obs.log, ", "); got != "acquire start, acquire end, run start, run end" {
		t.Errorf("saw %s", got)
	}
	if r := obs.started[0]; r.Name != "orders" || r.TTL != time.Minute || len(r.Keys) != 1 || r.Keys[0] != "k" || r.Tokens[0] != token {
		t.Errorf("RunStart %+v, want key k with token %d", r, token)
	}
}

func (bomb) AcquireStart(context.Context, guard.AcquireStart) context.Context { panic("observer") }

func (bomb) AcquireEnd(context.Context, guard.AcquireEnd) { panic("observer") }

func (bomb) RunStart(context.Context, guard.RunStart) context.Context { panic("observer") }

func (bomb) RunEnd(context.Context, guard.RunEnd) { panic("observer") }

func (bomb) Event(context.Context, guard.Event) { panic("observer") }
