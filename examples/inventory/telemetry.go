package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/jobguard/jobguard/otelguard"
)

// telemetry is what a replica tells about itself: metrics, and traces whose ids are
// in the log. A real program would also export the traces.
type telemetry struct {
	registry *prometheus.Registry
	meters   *sdkmetric.MeterProvider
	tracers  *sdktrace.TracerProvider
	tracer   trace.Tracer
	observer *otelguard.Observer
}

func newTelemetry() (*telemetry, error) {
	t := &telemetry{registry: prometheus.NewRegistry(), tracers: sdktrace.NewTracerProvider()}
	exporter, err := promexporter.New(promexporter.WithRegisterer(t.registry))
	if err != nil {
		return nil, fmt.Errorf("metrics for Prometheus: %w", err)
	}
	t.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter))
	t.tracer = t.tracers.Tracer("inventory")
	t.observer = otelguard.New(otelguard.WithTracerProvider(t.tracers), otelguard.WithMeterProvider(t.meters))
	return t, nil
}

func (t *telemetry) handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

func (t *telemetry) shutdown(ctx context.Context) error {
	return errors.Join(t.tracers.Shutdown(ctx), t.meters.Shutdown(ctx))
}

// newLog writes to w: warnings, or if all is set, everything.
func newLog(w io.Writer, all bool) *slog.Logger {
	level := slog.LevelWarn
	if all {
		level = slog.LevelDebug
	}
	return slog.New(withTrace{slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})})
}

// withTrace adds the ids of the span that a record's context comes from.
type withTrace struct{ slog.Handler }

// Handle implements [slog.Handler].
func (h withTrace) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h withTrace) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withTrace{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (h withTrace) WithGroup(name string) slog.Handler { return withTrace{h.Handler.WithGroup(name)} }

// asynqLog has asynq write to a log/slog: what it calls Info, as details.
type asynqLog struct{ *slog.Logger }

// Debug implements [asynq.Logger].
func (l asynqLog) Debug(args ...any) { l.Logger.Debug(fmt.Sprint(args...)) }

// Info implements [asynq.Logger].
func (l asynqLog) Info(args ...any) { l.Logger.Debug(fmt.Sprint(args...)) }

// Warn implements [asynq.Logger].
func (l asynqLog) Warn(args ...any) { l.Logger.Warn(fmt.Sprint(args...)) }

// Error implements [asynq.Logger].
func (l asynqLog) Error(args ...any) { l.Logger.Error(fmt.Sprint(args...)) }

// Fatal implements [asynq.Logger].
func (l asynqLog) Fatal(args ...any) { l.Logger.Error(fmt.Sprint(args...)) }
