package otelguard_test

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
	"github.com/jobguard/jobguard/otelguard"
)

// discard is where spans end: how they are sent is not the guard's business.
type discard struct{}

func (discard) OnStart(context.Context, trace.ReadWriteSpan)            {}
func (discard) OnEnd(trace.ReadOnlySpan)                                {}
func (discard) ForceFlush(context.Context) error                        { return nil }
func (discard) ExportSpans(context.Context, []trace.ReadOnlySpan) error { return nil }
func (discard) Shutdown(context.Context) error                          { return nil }

// inFull is an Observer that records everything: every trace is sampled, every
// metric aggregated.
func inFull(b *testing.B, to trace.SpanProcessor) *otelguard.Observer {
	tracers := trace.NewTracerProvider(trace.WithSpanProcessor(to), trace.WithSampler(trace.AlwaysSample()))
	b.Cleanup(func() { _ = tracers.Shutdown(context.Background()) })
	return otelguard.New(
		otelguard.WithTracerProvider(tracers),
		otelguard.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))),
		otelguard.WithLoggerProvider(sdklog.NewLoggerProvider()))
}

// BenchmarkDo is an uncontended run on Redis over loopback, without and with an
// Observer. What the Observer costs is the difference; benchmark both in turns
// (-count) as machines are noisy.
func BenchmarkDo(b *testing.B) {
	client := redis.NewClient(&redis.Options{Addr: redistest.Start(b).Addr()})
	defer func() { _ = client.Close() }()
	g := newGuard(b, redisstore.New(client), guard.Name("orders"))
	compare(b, g)
	_ = g.Shutdown(context.Background())
}

// BenchmarkDoInMemory is the same without Redis.
func BenchmarkDoInMemory(b *testing.B) {
	compare(b, newGuard(b, guardtest.NewStore(), guard.Name("orders")))
}

func compare(b *testing.B, g *guard.Guard) {
	for name, observed := range map[string]bool{"plain": false, "observed": true} {
		b.Run(name, func(b *testing.B) {
			g := g
			if observed {
				g = g.With(guard.Observe(inFull(b, discard{})))
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := g.Do(b.Context(), "k", nothing); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
