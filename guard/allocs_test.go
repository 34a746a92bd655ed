package guard_test

import (
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/internal/engine/queue"
)

// idle is an Observer that does nothing.
type idle struct{ guard.ObserverDefaults }

// BenchmarkDoObserved is what it costs to be observed at all.
func BenchmarkDoObserved(b *testing.B) {
	for name, opts := range map[string][]guard.Option{
		"none": nil, "one": {guard.Observe(idle{})}, "three": {guard.Observe(idle{}), guard.Observe(idle{}), guard.Observe(idle{})},
	} {
		b.Run(name, func(b *testing.B) {
			g := newGuard(b, guardtest.NewStore(), opts...)
			b.ReportAllocs()
			for b.Loop() {
				if err := g.Do(b.Context(), "k", nothing); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Beyond what the engine allocates for a lease a run needs its context, a
// cancellation, the function that cancels, and the caller's list of whom to cancel.
// Nothing is left for observers that are not there.
func TestWithoutAnObserverNothingIsAllocatedForObservers(t *testing.T) {
	const ofContext = 4
	store := guardtest.NewStore()
	e := queue.New(store)
	opt := queue.Options{Terms: &keep.Terms{TTL: 10 * time.Second, Margin: time.Second}, Wait: queue.Forever}
	bare := testing.AllocsPerRun(1000, func() {
		h, _, refused := e.Acquire(t.Context(), "k", opt)
		if refused != nil {
			t.Fatal(refused)
		}
		h.End()
	})
	g := newGuard(t, store)
	do := testing.AllocsPerRun(1000, func() { _ = g.Do(t.Context(), "k", nothing) })
	if do > bare+ofContext {
		t.Errorf("%v allocations a run, of which the engine makes %v and the context %v", do, bare, ofContext)
	}
}

// docs/costs.md counts with it. It is a size class of the allocator.
func TestARunIsSmall(t *testing.T) {
	if guard.RunSize > 64 {
		t.Errorf("a run has %d bytes, want at most 64", guard.RunSize)
	}
}
