package otelguard_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	api "go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
)

// BenchmarkSDKAlone is the least that two spans and three histograms can cost
// any recorder, with the attributes of an uncontended run: what
// BenchmarkDoInMemory has above it is the Observer's.
func BenchmarkSDKAlone(b *testing.B) {
	tracer := trace.NewTracerProvider(trace.WithSpanProcessor(discard{})).Tracer("bench")
	meter := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())).Meter("bench")
	var histograms [3]api.Float64Histogram
	for i, name := range []string{"acquire", "run", "ratio"} {
		var err error
		histograms[i], err = meter.Float64Histogram(name, api.WithExplicitBucketBoundaries(
			.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60))
		if err != nil {
			b.Fatal(err)
		}
	}
	record := []api.RecordOption{api.WithAttributeSet(attribute.NewSet(str("jobguard.name", "orders"), str("jobguard.outcome", "ok")))}
	acquire := []kv{named("orders"), str("o", "acquired"), attribute.Int("n", 1), attribute.Float64("w", .1)}
	run := []kv{named("orders"), attribute.Float64("t", 10), str("o", "ok"), attribute.Int("r", 0), str("re", "released"), attribute.Int64("f", 1)}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		inAcquire, first := tracer.Start(ctx, "acquire orders")
		histograms[0].Record(inAcquire, .1, record...)
		first.SetAttributes(acquire...)
		first.End()
		inRun, second := tracer.Start(ctx, "run orders")
		histograms[1].Record(inRun, .1, record...)
		histograms[2].Record(inRun, .1, record...)
		second.SetAttributes(run...)
		second.End()
	}
}
