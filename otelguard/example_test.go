package otelguard_test

import (
	"context"
	"errors"
	"log"
	"net/http"
	"time"

	promclient "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/prometheus"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/guard/stop"
	"github.com/jobguard/jobguard/otelguard"
	"github.com/jobguard/jobguard/otelguard/termlinks"
)

// docs/behaviour/otelguard.md shows the bodies of these (TestDocumentationShowsTheExamples).

func ExampleNew_otlp() {
	ctx := context.Background()
	spans, err1 := otlptracehttp.New(ctx)
	metrics, err2 := otlpmetrichttp.New(ctx)
	logs, err3 := otlploghttp.New(ctx)
	if err := errors.Join(err1, err2, err3); err != nil {
		log.Fatal(err)
	}
	tracers := trace.NewTracerProvider(trace.WithBatcher(spans), trace.WithSpanProcessor(termlinks.New()))
	meters := metric.NewMeterProvider(metric.WithReader(metric.NewPeriodicReader(metrics)))
	loggers := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(logs)))
	obs := otelguard.New(otelguard.WithTracerProvider(tracers), otelguard.WithMeterProvider(meters),
		otelguard.WithLoggerProvider(loggers), otelguard.WithNames("orders"))
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	g, err := guard.New(redisstore.New(client), guard.Observe(obs))
	if err != nil {
		log.Fatal(err)
	}
	orders := g.With(guard.Name("orders"))
	_ = orders // orders.Do(…), and at the end of the program:
	if err := shutDown(g, tracers, meters, loggers); err != nil {
		log.Print(err)
	}
}

// shutDown is the end of a program: the guards first, then the providers.
func shutDown(g *guard.Guard, tracers *trace.TracerProvider, meters *metric.MeterProvider, loggers *sdklog.LoggerProvider) error {
	steps := stop.New(15 * time.Second)
	steps.Add("guard", g.Shutdown, stop.Budget(10*time.Second)) // its context ends after 6.7 s: 3.3 s for runs that it cancels then
	steps.Add("telemetry", func(ctx context.Context) error {
		return errors.Join(tracers.Shutdown(ctx), meters.Shutdown(ctx), loggers.Shutdown(ctx))
	})
	return steps.Stop()
}

func ExampleNew_prometheus() {
	exporter, err := prometheus.New() // go.opentelemetry.io/otel/exporters/prometheus
	if err != nil {
		log.Fatal(err)
	}
	obs := otelguard.New(
		otelguard.WithTracerProvider(trace.NewTracerProvider()), // the program's own: exemplars lead to its traces
		otelguard.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(exporter))),
		otelguard.WithNames("orders"))
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	g, err := guard.New(redisstore.New(client), guard.Observe(obs))
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("GET /metrics", promhttp.HandlerFor(
		promclient.DefaultGatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	_ = g.With(guard.Name("orders")) // .Do(…)
}

func Example_redisotel() {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379", ContextTimeoutEnabled: true})
	err := redisotel.InstrumentTracing(client, redisotel.WithDBStatement(false))
	if err != nil {
		log.Fatal(err)
	}
}
