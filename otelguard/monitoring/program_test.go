package monitoring_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/redislog"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/otelguard"
)

const (
	programEnv = "JOBGUARD_MONITORING_PROGRAM" // the address of Redis
	theKey     = "nightly-import"              // held for good
	theName    = "imports"
)

// program is what the test binary does when it is started as the program that
// Prometheus watches, until SIGTERM: it holds one key and takes it
// anew after a loss, runs short work on record under another, and serves /metrics on a port
// that it prints.
func program(addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()

	registry := prometheus.NewRegistry()
	exporter, err := promexporter.New(promexporter.WithRegisterer(registry))
	if err != nil {
		return err
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter))
	observer := otelguard.New(otelguard.WithMeterProvider(provider), otelguard.WithNames(theName))

	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	g, err := guard.New(redisstore.New(client), guard.Observe(observer), guard.Name(theName),
		guard.TTL(6*time.Second)) // short, and long enough that a busy machine loses no lease by itself
	if err != nil {
		return err
	}

	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // ends with the process
	fmt.Println(listener.Addr())

	j, err := journal.New(g, redislog.New(client), journal.Observe(observer))
	if err != nil {
		return err
	}
	j.Handle("entry", func(context.Context, journal.Record) error { return nil })
	go func() { log.Print(j.Run(ctx)) }() // ends with the process
	go work(ctx, j)
	for ctx.Err() == nil {
		err := g.Do(ctx, theKey, func(ctx context.Context) error { <-ctx.Done(); return nil })
		log.Printf("a run of %s ended: %v", theKey, err)
	}
	return nil
}

// work keeps the histograms busy until ctx ends, which the program's end makes sure of.
func work(ctx context.Context, j *journal.Journal) {
	for range time.Tick(50 * time.Millisecond) {
		err := j.Do(ctx, "ledger", journal.Op{Kind: "entry"}, func(context.Context) error { return nil })
		if err != nil && ctx.Err() == nil {
			log.Printf("a run of ledger: %v", err)
		}
	}
}
