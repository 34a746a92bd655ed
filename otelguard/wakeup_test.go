package otelguard_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
	"github.com/jobguard/jobguard/otelguard"
)

// A run that begins on a wake-up renews within 10 ms, when little of its reservation is
// left: that is on time, and must not look like a store that is slow.
func TestContendedRunsDoNotLookLikeLateRenewals(t *testing.T) {
	registry := prometheus.NewRegistry()
	exporter, err := promexporter.New(promexporter.WithRegisterer(registry))
	if err != nil {
		t.Fatal(err)
	}
	obs := otelguard.New(otelguard.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(exporter))))
	server := redistest.Start(t)
	var processes sync.WaitGroup
	for range 4 {
		g := newGuard(t, redisstore.New(server.Client(t)), guard.Observe(obs), guard.Name("orders"))
		processes.Go(func() {
			for range 5 {
				err := g.Do(t.Context(), "k", func(context.Context) error { time.Sleep(50 * time.Millisecond); return nil })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	processes.Wait()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "jobguard_renewal_trust_left" {
			t.Errorf("renewals with little trust left: %v", f.GetMetric())
		}
	}
}
