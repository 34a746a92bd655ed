package otelguard_test

import (
	"context"
	"log"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/otelguard"
)

func ExampleNew_otlp() {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})

	spans, err := otlptracehttp.New(ctx)
	if err != nil {
		log.Fatal(err)
	}
	metrics, err := otlpmetrichttp.New(ctx)
	if err != nil {
		log.Fatal(err)
	}
	tracers := trace.NewTracerProvider(trace.WithBatcher(spans))
	meters := metric.NewMeterProvider(metric.WithReader(metric.NewPeriodicReader(metrics)))
	obs := otelguard.New(
		otelguard.WithTracerProvider(tracers),
		otelguard.WithMeterProvider(meters),
		otelguard.WithNames("orders"))
	g, err := guard.New(redisstore.New(client), guard.Name("orders"), guard.Observe(obs))
	if err != nil {
		log.Fatal(err)
	}
	err = g.Do(ctx, guard.Key("order", "42"), func(context.Context) error { return nil })
	if err != nil {
		log.Print(err)
	}
}

func ExampleNew_prometheus() {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})

	exporter, err := prometheus.New()
	if err != nil {
		log.Fatal(err)
	}
	obs := otelguard.New(
		otelguard.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(exporter))),
		otelguard.WithNames("orders"))
	g, err := guard.New(redisstore.New(client), guard.Name("orders"), guard.Observe(obs))
	if err != nil {
		log.Fatal(err)
	}
	_ = g // g.Do(…)
	http.Handle("GET /metrics", promhttp.Handler())
}
