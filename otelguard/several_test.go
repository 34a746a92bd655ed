package otelguard_test

import (
	"context"
	"testing"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
)

// bomb panics wherever it is called.
type bomb struct{}

func (bomb) AcquireStart(context.Context, guard.AcquireStart) context.Context { panic("observer") }
func (bomb) AcquireEnd(context.Context, guard.AcquireEnd)                     { panic("observer") }
func (bomb) RunStart(context.Context, guard.RunStart) context.Context         { panic("observer") }
func (bomb) RunEnd(context.Context, guard.RunEnd)                             { panic("observer") }
func (bomb) Event(context.Context, guard.Event)                               { panic("observer") }

func TestSeveralObserversGetEverythingWhenOnePanics(t *testing.T) {
	one, two := newTelemetry(), newTelemetry()
	g := newGuard(t, guardtest.NewStore(), guard.Name("orders"),
		guard.Observe(one), guard.Observe(bomb{}), guard.Observe(two))
	if err := g.Do(t.Context(), "k", nothing); err != nil {
		t.Fatal(err)
	}
	for _, tel := range []*telemetry{one, two} {
		for _, name := range []string{"acquire orders", "run orders"} {
			if s := tel.span(t, name); attr(s, "jobguard.outcome").AsString() == "" {
				t.Errorf("the end of %s was not recorded", name)
			}
		}
		if n, _ := tel.sum(t, "jobguard.runs.active", named("orders")); n != 0 {
			t.Errorf("%d runs are active at the end", n)
		}
	}
}

// A guard calls an Observer twice that it was given twice, as by a base guard and
// again by what is built on it. That counts double, but nothing stays under way.
func TestObserverGivenTwiceEndsAllThatItBegan(t *testing.T) {
	tel := newTelemetry()
	g := newGuard(t, guardtest.NewStore(), guard.Name("orders"), guard.Observe(tel))
	if err := g.With(guard.Observe(tel)).Do(t.Context(), "k", nothing); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"acquire orders", "run orders"} {
		if n := len(tel.all(name)); n != 2 {
			t.Errorf("%d spans %q have ended, want 2", n, name)
		}
	}
	for _, gauge := range []string{"jobguard.runs.active", "jobguard.waiters.active"} {
		if n, _ := tel.sum(t, gauge, named("orders")); n != 0 {
			t.Errorf("%s is %d at the end", gauge, n)
		}
	}
}

// What the zero providers of the API do must not matter to a run.
func TestWithoutAnSDKNothingIsRecordedAndNothingBreaks(t *testing.T) {
	store := guardtest.NewStore()
	err := newGuard(t, store, guard.Observe(otelguard.New())).Do(t.Context(), "k", func(context.Context) error {
		if owner, _ := store.Holder("k"); owner == "" {
			t.Error("the key is not held")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
