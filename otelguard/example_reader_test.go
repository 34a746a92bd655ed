package otelguard_test

import (
	"context"
	"fmt"
	"log"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
)

// Shows the metrics that there are after one run.
func ExampleNew_reader() {
	reader := metric.NewManualReader() // in production an exporter
	obs := otelguard.New(otelguard.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))))
	g, err := guard.New(guardtest.NewStore(), guard.Observe(obs))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := g.Do(ctx, "report", func(context.Context) error { return nil }); err != nil {
		log.Fatal(err)
	}
	var found metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &found); err != nil {
		log.Fatal(err)
	}
	for _, scope := range found.ScopeMetrics {
		for _, m := range scope.Metrics {
			fmt.Println(m.Name)
		}
	}
	// Output:
	// jobguard.acquire.duration
	// jobguard.run.duration
	// jobguard.run.ttl_ratio
	// jobguard.runs.active
	// jobguard.waiters.active
	// jobguard.renewals
	// jobguard.leases.lost
	// jobguard.release.failures
	// jobguard.acquire.contended
	// jobguard.acquire.failures
	// jobguard.key.errors
}
