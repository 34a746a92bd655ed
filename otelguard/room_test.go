package otelguard_test

import (
	"context"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/otelguard"
)

// once has an acquire and a run of that name, which ended so.
func once(ctx context.Context, tel *telemetry, name string, a guard.AcquireEnd, r guard.RunEnd, events ...guard.Event) {
	tel.AcquireEnd(tel.AcquireStart(ctx, guard.AcquireStart{Name: name, Wait: 1}), a)
	run := tel.RunStart(ctx, guard.RunStart{Name: name, TTL: 1})
	for _, e := range events {
		tel.Event(run, e)
	}
	tel.RunEnd(run, r)
}

// everyEnd has a name use all its series: every outcome, every event, and more
// error types than there is room for.
func everyEnd(ctx context.Context, tel *telemetry, name string) {
	for _, err := range []error{nil, guard.ErrBusy, guard.ErrUnavailable, guard.ErrClosed} {
		once(ctx, tel, name, guard.AcquireEnd{Err: err, Contended: true}, guard.RunEnd{Err: err})
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	once(ended, tel, name, guard.AcquireEnd{Err: context.Canceled}, guard.RunEnd{Panicked: true})
	tel.AcquireEnd(tel.AcquireStart(ctx, guard.AcquireStart{Name: name}), guard.AcquireEnd{Err: guard.ErrBusy})
	for _, reason := range []guard.LossReason{guard.LostExpired, guard.LostNotOwner, guard.LostMaxHold} {
		once(ctx, tel, name, guard.AcquireEnd{}, guard.RunEnd{Lost: reason},
			guard.Event{Kind: guard.EventLost, Reason: reason, TTL: 1}, guard.Event{Kind: guard.EventRenewed, Left: 1, TTL: 1},
			guard.Event{Kind: guard.EventRenewFailed, TTL: 1}, guard.Event{Kind: guard.EventReleaseFailed, TTL: 1})
	}
	for i := range 20 {
		err := typed(rune('a' + i))
		once(ctx, tel, name, guard.AcquireEnd{Err: err}, guard.RunEnd{Err: err})
	}
	tel.Watch(record.Watched{
		Name: name, Kinds: func() []string { return []string{"charge"} },
		Stats: func(context.Context) (record.Stats, error) { return record.Stats{}, nil },
	})
}

// The SDK keeps 1999 series of an instrument apart, and throws the rest together
// without a name. Everything at once must fit.
func TestNoMetricOverflowsHoweverManyNamesAndErrorTypes(t *testing.T) {
	tel := newTelemetry()
	var at sync.WaitGroup // at once, so that none slips past the bounds
	for part := range 4 {
		at.Go(func() {
			for i := range 50 {
				everyEnd(t.Context(), tel, string(rune('a'+part))+string(rune('0'+i)))
			}
		})
	}
	at.Wait()
	for name, m := range tel.metrics(t) {
		var sets []attribute.Set
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			sets = setsOf(data.DataPoints)
		case metricdata.Gauge[int64]:
			sets = setsOf(data.DataPoints)
		case metricdata.Gauge[float64]:
			for _, p := range data.DataPoints {
				sets = append(sets, p.Attributes)
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				sets = append(sets, p.Attributes)
			}
		}
		names := map[string]bool{}
		for _, set := range sets {
			v, there := set.Value("jobguard.name")
			if !there {
				t.Fatalf("%s: %d series, one of them %v", name, len(sets), set.ToSlice())
			}
			names[v.AsString()] = true
		}
		if len(names) != 150 || !names["_OTHER"] {
			t.Errorf("%s: %d names, _OTHER among them: %v", name, len(names), names["_OTHER"])
		}
	}
}

func setsOf(points []metricdata.DataPoint[int64]) (sets []attribute.Set) {
	for _, p := range points {
		sets = append(sets, p.Attributes)
	}
	return sets
}

func TestErrorTypesBeyondTheEighthAreOther(t *testing.T) {
	tel := newTelemetry()
	for i := range 20 {
		once(t.Context(), tel, "orders", guard.AcquireEnd{}, guard.RunEnd{Err: typed(rune('a' + i))})
	}
	for errorType, want := range map[string]uint64{"a": 1, "h": 1, "i": 0, "_OTHER": 12} {
		p := tel.histogram(t, "jobguard.run.duration", named("orders"), str("jobguard.outcome", "error"), str("error.type", errorType))
		if p.Count != want {
			t.Errorf("%d runs of error type %s, want %d", p.Count, errorType, want)
		}
	}
}

func TestNameBeyondTheBoundCostsNoMoreThanAKnownOne(t *testing.T) {
	tel := newTelemetry(otelguard.WithTracerProvider(noop.NewTracerProvider()))
	for i := range 200 {
		once(t.Context(), tel, string(rune('0'+i)), guard.AcquireEnd{}, guard.RunEnd{})
	}
	allocs := func(names ...string) float64 {
		i := 0
		return testing.AllocsPerRun(200, func() {
			i++
			once(context.Background(), tel, names[i%len(names)], guard.AcquireEnd{}, guard.RunEnd{})
		})
	}
	known, turns, beyond := allocs("0"), allocs("0", "1"), allocs("new", "newer")
	if max(known, turns, beyond) > 4 { // the context of each, and the tracer's in it
		t.Errorf("%v allocations, %v in turns with another name, %v beyond the bound", known, turns, beyond)
	}
}
