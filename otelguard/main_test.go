package otelguard_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/otelguard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// telemetry is an Observer over the SDK, and what the SDK makes of it.
type telemetry struct {
	*otelguard.Observer
	spans  *tracetest.InMemoryExporter
	tracer *trace.TracerProvider
	meter  *metric.MeterProvider
	reader *metric.ManualReader
	logs   *records
}

func newTelemetry(opts ...otelguard.Option) *telemetry {
	tel := &telemetry{spans: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader(), logs: &records{}}
	tel.tracer = trace.NewTracerProvider(trace.WithSyncer(tel.spans))
	tel.meter = metric.NewMeterProvider(metric.WithReader(tel.reader))
	tel.Observer = otelguard.New(append([]otelguard.Option{
		otelguard.WithTracerProvider(tel.tracer),
		otelguard.WithMeterProvider(tel.meter),
		otelguard.WithLoggerProvider(tel.logs.provider()),
	}, opts...)...)
	return tel
}

// span returns the only span of that name.
func (tel *telemetry) span(t testing.TB, name string) tracetest.SpanStub {
	t.Helper()
	all := tel.all(name)
	if len(all) != 1 {
		t.Fatalf("%d spans %q, want one", len(all), name)
	}
	return all[0]
}

func (tel *telemetry) all(name string) (found []tracetest.SpanStub) {
	for _, s := range tel.spans.GetSpans() {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// attr returns an attribute of a span, INVALID if it has none of that key.
func attr(s tracetest.SpanStub, key attribute.Key) (v attribute.Value) {
	for _, a := range s.Attributes {
		if a.Key == key {
			v = a.Value
		}
	}
	return v
}

// metrics returns what has been recorded so far, by name.
func (tel *telemetry) metrics(t testing.TB) map[string]metricdata.Metrics {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := tel.reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]metricdata.Metrics)
	for _, s := range rm.ScopeMetrics {
		for _, m := range s.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

// has reports whether a series has exactly these attributes.
func has(set attribute.Set, kvs []attribute.KeyValue) bool {
	want := attribute.NewSet(kvs...)
	return set.Equals(&want)
}

// sum returns the value of a counter for exactly these attributes; ok is false
// if there is no such series.
func (tel *telemetry) sum(t testing.TB, name string, kvs ...attribute.KeyValue) (n int64, ok bool) {
	t.Helper()
	data, _ := tel.metrics(t)[name].Data.(metricdata.Sum[int64])
	for _, p := range data.DataPoints {
		if has(p.Attributes, kvs) {
			return p.Value, true
		}
	}
	return 0, false
}

// histogram returns the series for exactly these attributes, empty if there is none.
func (tel *telemetry) histogram(t testing.TB, name string, kvs ...attribute.KeyValue) (none metricdata.HistogramDataPoint[float64]) {
	t.Helper()
	data, _ := tel.metrics(t)[name].Data.(metricdata.Histogram[float64])
	for _, p := range data.DataPoints {
		if has(p.Attributes, kvs) {
			return p
		}
	}
	return none
}

func named(name string) attribute.KeyValue { return attribute.String("jobguard.name", name) }

func newGuard(t testing.TB, store lease.Store, opts ...guard.Option) *guard.Guard {
	t.Helper()
	g, err := guard.New(store, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// onRedis is newGuard over a server, in a process of its own.
func onRedis(t testing.TB, addr string, opts ...guard.Option) *guard.Guard {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	g := newGuard(t, redisstore.New(client), opts...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := g.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		_ = client.Close()
	})
	return g
}

func nothing(context.Context) error { return nil }

type kv = attribute.KeyValue

func str(key, value string) kv { return attribute.String(key, value) }
