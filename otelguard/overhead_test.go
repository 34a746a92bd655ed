package otelguard_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// BenchmarkOverhead has, under a caller's span, a plain guard and one with full
// tracing and metrics take turns of 20 runs, so that both meet the same moods of the machine, and reports
// the medians and by how much the second is the greater.
func BenchmarkOverhead(b *testing.B) {
	b.Run("spans made", func(b *testing.B) { overhead(b, discard{}) })
	// With a goroutine that is woken for every span, on the cores that client and
	// server share.
	b.Run("spans batched", func(b *testing.B) { overhead(b, trace.NewBatchSpanProcessor(discard{})) })
}

func overhead(b *testing.B, to trace.SpanProcessor) {
	client := redis.NewClient(&redis.Options{Addr: redistest.Start(b).Addr()})
	defer func() { _ = client.Close() }()
	plain := newGuard(b, redisstore.New(client), guard.Name("orders"))
	defer func() { _ = plain.Shutdown(context.Background()) }()
	guards := [2]*guard.Guard{plain, plain.With(guard.Observe(inFull(b, to)))}
	ctx := oteltrace.ContextWithSpanContext(b.Context(), oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
		TraceID: oteltrace.TraceID{1}, SpanID: oteltrace.SpanID{1}, TraceFlags: oteltrace.FlagsSampled,
	}))
	var took [2][]time.Duration
	for b.Loop() {
		for i, g := range guards {
			for range 20 {
				began := time.Now()
				if err := g.Do(ctx, "k", nothing); err != nil {
					b.Fatal(err)
				}
				took[i] = append(took[i], time.Since(began))
			}
		}
	}
	p, o := median(took[0]), median(took[1])
	b.ReportMetric(float64(p.Nanoseconds()), "plain-ns")
	b.ReportMetric(float64(o.Nanoseconds()), "observed-ns")
	b.ReportMetric(100*float64(o-p)/float64(p), "overhead-%")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
