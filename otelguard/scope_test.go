package otelguard_test

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/jobguard/jobguard/guard"
)

func TestSpansMetricsAndLogsHaveTheSameScope(t *testing.T) {
	tel := newTelemetry()
	once(t.Context(), tel, "orders", guard.AcquireEnd{}, guard.RunEnd{}, guard.Event{Kind: guard.EventLost, Reason: guard.LostExpired, TTL: 1})
	var rm metricdata.ResourceMetrics
	if err := tel.reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]instrumentation.Scope{
		"spans":   tel.span(t, "run orders").InstrumentationScope,
		"metrics": rm.ScopeMetrics[0].Scope,
		"logs":    tel.logs.of("jobguard.lease.lost")[0].InstrumentationScope(),
	} {
		if s.Name != "github.com/jobguard/jobguard/otelguard" || !strings.HasPrefix(s.SchemaURL, "https://opentelemetry.io/schemas/1.") {
			t.Errorf("%s have the scope %+v", what, s)
		}
	}
}
