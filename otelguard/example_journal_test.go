package otelguard_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/otelguard"
)

// One Observer serves a guard and its journal. A run that failed is open in the log.
func ExampleNew_journal() {
	reader := metric.NewManualReader() // in production an exporter
	obs := otelguard.New(otelguard.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))))
	g, err := guard.New(guardtest.NewStore(), guard.Name("orders"), guard.Observe(obs))
	if err != nil {
		log.Fatal(err)
	}
	j, err := journal.New(g, guardtest.NewLog(), journal.Observe(obs))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	fmt.Println(j.Do(ctx, "order:42", journal.Op{Kind: "charge"}, func(context.Context) error { return errors.New("no stock") }))
	var found metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &found); err != nil {
		log.Fatal(err)
	}
	for _, scope := range found.ScopeMetrics {
		for _, m := range scope.Metrics {
			if level, is := m.Data.(metricdata.Gauge[int64]); is && strings.HasPrefix(m.Name, "jobguard.journal.") {
				fmt.Println(m.Name, level.DataPoints[0].Value)
			}
		}
	}
	// Output:
	// no stock
	// jobguard.journal.open 1
	// jobguard.journal.limit 100000
	// jobguard.journal.dead 0
}
