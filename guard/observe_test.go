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
)

// recorder is an Observer that remembers.
type recorder struct {
	mu       sync.Mutex
	log      []string
	acquired []guard.AcquireEnd
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

func (r *recorder) AcquireStart(ctx context.Context, _ guard.AcquireStart) context.Context {
	r.add("acquire start", nil)
	return context.WithValue(ctx, mark("acquire"), true)
}

func (r *recorder) AcquireEnd(ctx context.Context, a guard.AcquireEnd) {
	if ctx.Value(mark("acquire")) == nil {
		r.add("AcquireEnd without AcquireStart's context", nil)
	}
	r.add("acquire end", func() { r.acquired = append(r.acquired, a) })
}

func (r *recorder) RunStart(ctx context.Context, _ guard.RunStart) context.Context {
	r.add("run start", nil)
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

func (r *recorder) saw(k guard.EventKind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.events, func(e guard.Event) bool { return e.Kind == k })
}

func TestObserverSeesTheWholeLifeOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		obs := &recorder{}
		g := newGuard(t, store, guard.Observe(obs), guard.Name("orders"))
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			if ctx.Value(mark("run")) == nil {
				t.Error("fn's context does not come from RunStart's")
			}
			time.Sleep(5 * time.Second)
			store.Expire("k")
			<-ctx.Done()
			return nil
		})
		if !errors.Is(err, guard.ErrLost) {
			t.Fatal(err)
		}
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
	})
}

func TestWaiterLearnsTheHoldersCarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t)
		first, second := &recorder{text: "trace-of-the-holder"}, &recorder{}
		end, _ := hold(t, a.With(guard.Observe(first)), "k")
		_ = b.With(guard.Observe(second), guard.Wait(0)).Do(t.Context(), "k", nothing)
		if got := second.acquired[0].HolderMetadata; got != "trace-of-the-holder" {
			t.Errorf("metadata %q", got)
		}
		end()
	})
}

// bomb panics wherever it is called.
type bomb struct{}

func (bomb) AcquireStart(context.Context, guard.AcquireStart) context.Context { panic("observer") }
func (bomb) AcquireEnd(context.Context, guard.AcquireEnd)                     { panic("observer") }
func (bomb) RunStart(context.Context, guard.RunStart) context.Context         { panic("observer") }
func (bomb) RunEnd(context.Context, guard.RunEnd)                             { panic("observer") }
func (bomb) Event(context.Context, guard.Event)                               { panic("observer") }

func TestPanickingObserverBreaksNothing(t *testing.T) {
	old := slog.Default()
	defer slog.SetDefault(old)
	var logged bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))

	store := guardtest.NewStore()
	obs := &recorder{}
	g := newGuard(t, store, guard.Observe(bomb{}), guard.Observe(obs))
	if err := g.Do(t.Context(), "k", nothing); err != nil {
		t.Error(err)
	}
	if got := strings.Join(obs.log, ", "); got != "acquire start, acquire end, run start, run end" {
		t.Errorf("the other observer saw %s", got)
	}
	if !strings.Contains(logged.String(), "Observer panicked") {
		t.Errorf("log: %q", logged.String())
	}
}

func TestLogObserverWritesLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.Observe(guard.LogObserver(slog.New(slog.NewTextHandler(&out, nil)))))
		_ = g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Hold("k", "thief")
			<-ctx.Done()
			return nil
		})
		for _, want := range []string{"level=WARN", "guard: lost", "key=k", "thief"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in %q", want, out.String())
			}
		}
	})
}

func TestNoEventFollowsRunEndWhenANestedRunOutlivesItsOuterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		obs := &recorder{}
		g := newGuard(t, store, guard.Observe(obs))
		nested := make(chan error, 1)
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
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
		})
		if err != nil {
			t.Error(err)
		}
		if err := <-nested; err != nil {
			t.Error(err)
		}
		if store.Calls(guardtest.OpRenew) == 0 {
			t.Error("nothing happened to the lease that could have been reported")
		}
		if got := strings.Join(obs.log, ", "); got != "acquire start, acquire end, run start, run end" {
			t.Errorf("the observer saw %s", got)
		}
	})
}
