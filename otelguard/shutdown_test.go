package otelguard_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
)

// A run ignores its context and outlasts Shutdown. What happened is exported all the
// same, to a server that speaks OTLP.
func TestTelemetryOfAStuckRunIsExported(t *testing.T) {
	var mu sync.Mutex
	got := map[string]bool{}
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got[strings.TrimPrefix(r.URL.Path, "/v1/")] = true
	}))
	defer collector.Close()
	at := collector.Listener.Addr().String()
	spans, err1 := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpoint(at), otlptracehttp.WithInsecure())
	metrics, err2 := otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithEndpoint(at), otlpmetrichttp.WithInsecure())
	logs, err3 := otlploghttp.New(t.Context(), otlploghttp.WithEndpoint(at), otlploghttp.WithInsecure())
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	tracers := trace.NewTracerProvider(trace.WithBatcher(spans, trace.WithBatchTimeout(time.Hour)))
	meters := metric.NewMeterProvider(metric.WithReader(metric.NewPeriodicReader(metrics, metric.WithInterval(time.Hour))))
	loggers := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(logs, sdklog.WithExportInterval(time.Hour))))
	store := guardtest.NewStore()
	g := newGuard(t, store, guard.TTL(500*time.Millisecond), guard.Observe(otelguard.New(otelguard.WithTracerProvider(tracers),
		otelguard.WithMeterProvider(meters), otelguard.WithLoggerProvider(loggers))))
	stuck, stop := make(chan struct{}), make(chan struct{})
	var runs sync.WaitGroup
	runs.Go(func() {
		_ = g.Do(context.Background(), "k", func(ctx context.Context) error {
			store.Expire("k") // a loss, to be logged
			<-ctx.Done()
			close(stuck)
			<-stop
			return nil
		})
	})
	await(t, "the run that is stuck", stuck)
	if err := shutDown(g, tracers, meters, loggers); err == nil {
		t.Error("Shutdown says nothing of the run that is stuck")
	}
	mu.Lock()
	for _, signal := range []string{"traces", "metrics", "logs"} {
		if !got[signal] {
			t.Errorf("no %s were exported", signal)
		}
	}
	mu.Unlock()
	close(stop)
	runs.Wait()
}
