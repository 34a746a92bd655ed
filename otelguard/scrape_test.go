package otelguard_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
)

// scraped is the documented set-up with Prometheus: an Observer and the page that
// has its metrics.
func scraped(t *testing.T, opts ...otelguard.Option) (url string, obs *otelguard.Observer) {
	t.Helper()
	registry := prometheus.NewRegistry()
	exporter, err := promexporter.New(promexporter.WithRegisterer(registry))
	if err != nil {
		t.Fatal(err)
	}
	page := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	t.Cleanup(page.Close)
	return page.URL, otelguard.New(append([]otelguard.Option{
		otelguard.WithTracerProvider(trace.NewTracerProvider()),
		otelguard.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(exporter))),
	}, opts...)...)
}

// scrape reads the page as Prometheus does that stores exemplars.
func scrape(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v\n%s", answer.Status, err, body)
	}
	return string(body)
}

func TestExemplarsArriveAtPrometheus(t *testing.T) {
	tel := newTelemetry()
	url, obs := scraped(t, otelguard.WithTracerProvider(tel.tracer))
	g := newGuard(t, guardtest.NewStore(), guard.Observe(obs), guard.Name("orders"))
	if err := g.Do(t.Context(), "k", nothing); err != nil {
		t.Fatal(err)
	}
	page := scrape(t, url)
	for metric, span := range map[string]string{
		"jobguard_acquire_duration_seconds_bucket": "acquire orders",
		"jobguard_run_duration_seconds_bucket":     "run orders",
	} {
		want := `span_id="` + tel.span(t, span).SpanContext.SpanID().String() + `"`
		found := false
		for line := range strings.Lines(page) {
			found = found || strings.HasPrefix(line, metric) && strings.Contains(line, " # {") && strings.Contains(line, want)
		}
		if !found {
			t.Errorf("no exemplar of %s has %s in\n%s", metric, want, page)
		}
	}
}
