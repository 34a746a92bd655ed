package monitoring_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/otelguard"
)

// series is what is known of metrics as Prometheus sees them: name, label,
// values. Of histograms it has the three names that are stored.
type series map[string]map[string][]string

func (s series) add(metric, label, value string) {
	if s[metric] == nil {
		s[metric] = map[string][]string{}
	}
	if !slices.Contains(s[metric][label], value) {
		s[metric][label] = append(s[metric][label], value)
	}
}

// observed returns an observer and the registry that its metrics go to.
func observed(t testing.TB, views ...sdkmetric.View) (*otelguard.Observer, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	exporter, err := promexporter.New(promexporter.WithRegisterer(registry))
	if err != nil {
		t.Fatal(err)
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithView(views...))
	return otelguard.New(otelguard.WithMeterProvider(provider)), registry
}

// exported has guards go through everything that can happen to a run, and
// returns what otelguard's exporter then offers to Prometheus.
func exported(t *testing.T) series {
	t.Helper()
	var registry *prometheus.Registry
	synctest.Test(t, func(t *testing.T) {
		var observer *otelguard.Observer
		observer, registry = observed(t)
		live(t, observer)
	})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := series{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			found.collect(f, m)
		}
	}
	return found
}

func (s series) collect(f *dto.MetricFamily, m *dto.Metric) {
	names := []string{f.GetName()}
	if h := m.GetHistogram(); h != nil {
		names = []string{f.GetName() + "_bucket", f.GetName() + "_sum", f.GetName() + "_count"}
		for _, b := range h.GetBucket() {
			s.add(names[0], "le", strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64))
		}
		s.add(names[0], "le", "+Inf")
	}
	for _, name := range names {
		for _, l := range m.GetLabel() {
			s.add(name, l.GetName(), l.GetValue())
		}
		s.add(name, "job", "") // Prometheus itself adds these
		s.add(name, "instance", "")
	}
}

// live lets runs end in every way there is.
func live(t *testing.T, observer *otelguard.Observer) {
	store := guardtest.NewStore()
	g, err := guard.New(store, guard.Observe(observer), guard.Name("orders"), guard.TTL(3*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	idle := func(context.Context) error { return nil }
	untilOver := func(ctx context.Context) error { <-ctx.Done(); return nil }
	expect := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}

	expect("a run", g.Do(t.Context(), "a", idle), nil)
	expect("a long run", g.Do(t.Context(), "a", func(context.Context) error { time.Sleep(5 * time.Second); return nil }), nil)
	failed := errors.New("failed")
	expect("a run that fails", g.Do(t.Context(), "a", func(context.Context) error { return failed }), failed)
	expect("a run that takes too long", g.With(guard.MaxHold(time.Second)).Do(t.Context(), "a", untilOver), guard.ErrMaxHold)
	time.Sleep(10 * time.Second) // until its key is free again
	func() {
		defer func() { _ = recover() }() // the panic is the point
		_ = g.Do(t.Context(), "a", func(context.Context) error { panic("on purpose") })
	}()

	expect("a lease that is taken away", g.Do(t.Context(), "a", func(ctx context.Context) error {
		store.Expire("a")
		return untilOver(ctx)
	}), guard.ErrLost)
	expect("a lease that cannot be renewed", g.Do(t.Context(), "b", func(ctx context.Context) error {
		store.Fail(errors.New("down"))
		return untilOver(ctx)
	}), guard.ErrLost)
	expect("a store that is down", g.With(guard.Wait(0)).Do(t.Context(), "c", idle), guard.ErrUnavailable)
	store.Fail(nil)
	time.Sleep(10 * time.Second)

	store.Hold("d", "ops")
	expect("a key that is held", g.With(guard.Wait(0)).Do(t.Context(), "d", idle), guard.ErrBusy)
	expect("the end of the wait", g.With(guard.Wait(time.Second)).Do(t.Context(), "d", idle), guard.ErrBusy)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Second, cancel)
	expect("a caller who goes away", g.Do(ctx, "d", idle), context.Canceled)

	recorded(t, g, observer)

	expect("shutdown", g.Shutdown(t.Context()), nil)
	expect("a run after shutdown", g.Do(t.Context(), "a", idle), guard.ErrClosed)
}

// recorded has a journal over g meet all that can happen to a record.
func recorded(t *testing.T, g *guard.Guard, observer *otelguard.Observer) {
	j, err := journal.New(g, guardtest.NewLog(), journal.Observe(observer), journal.MaxAttempts(2), journal.OnDead(func(journal.Record) {}))
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	calls := 0
	j.Handle("charge", func(context.Context, journal.Record) error {
		if calls++; calls > 2 {
			return nil
		}
		return failed
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = j.Run(ctx) }()
	for range 2 { // the first dies, the second is compensated
		_ = j.Do(t.Context(), "e", journal.Op{Kind: "charge"}, func(context.Context) error { return failed })
		time.Sleep(time.Minute)
	}
	stop()
	<-done
	if calls != 3 {
		t.Errorf("the handler was called %d times, want 3", calls)
	}
}

// closedLabels are those whose values are few and fixed, so that a value that is
// never exported is a mistake.
var closedLabels = []string{"jobguard_outcome", "jobguard_result", "jobguard_reason", "error_type", "jobguard_operation", "le"}

// known is what otelguard exports and what the rules make of it.
func known(t *testing.T) series {
	t.Helper()
	s := exported(t)
	values := map[string][]string{}
	for _, labels := range s {
		for label, vs := range labels {
			values[label] = append(values[label], vs...)
		}
	}
	for _, r := range rules(t) {
		for _, label := range r.level() {
			for _, v := range values[label] {
				s.add(r.Record, label, v)
			}
		}
	}
	return s
}

// check reports what expr names although s does not have it.
func (s series) check(t *testing.T, where, expr string) {
	t.Helper()
	e := namesIn(expr)
	if len(e.selectors) == 0 {
		t.Errorf("%s names no metric: %s", where, expr)
	}
	for _, sel := range e.selectors {
		labels, ok := s[sel.metric]
		if !ok {
			t.Errorf("%s names %s, which is neither exported nor recorded", where, sel.metric)
			continue
		}
		for _, m := range sel.matchers {
			if problem := m.wrong(labels); problem != "" {
				t.Errorf("%s: %s %s", where, sel.metric, problem)
			}
		}
	}
	for _, label := range e.labels {
		if !s.anyHas(label) {
			t.Errorf("%s groups by %s, a label that otelguard does not export", where, label)
		}
	}
}

func (m matcher) wrong(labels map[string][]string) string {
	values, ok := labels[m.label]
	if !ok {
		return "has no label " + m.label
	}
	if !slices.Contains(closedLabels, m.label) {
		return ""
	}
	for v := range strings.SplitSeq(m.value, "|") {
		if !slices.Contains(values, v) {
			return fmt.Sprintf("never has %s=%q, only %q", m.label, v, values)
		}
	}
	return ""
}

func (s series) anyHas(label string) bool {
	for _, labels := range s {
		if _, ok := labels[label]; ok {
			return true
		}
	}
	return false
}

// What JobguardBucketsMissing looks for: as text, an exponential histogram has the
// bucket +Inf alone.
func TestExponentialHistogramHasNoBucketBelowInfinityAsText(t *testing.T) {
	observer, registry := observed(t, sdkmetric.NewView(
		sdkmetric.Instrument{Kind: sdkmetric.InstrumentKindHistogram},
		sdkmetric.Stream{Aggregation: sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}}))
	g, err := guard.New(guardtest.NewStore(), guard.Observe(observer), guard.Name("orders"))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Do(t.Context(), "a", func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	page := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	var buckets []string
	for line := range strings.Lines(page.Body.String()) {
		if strings.HasPrefix(line, "jobguard_acquire_duration_seconds_bucket") {
			buckets = append(buckets, line)
		}
	}
	if len(buckets) != 1 || !strings.Contains(buckets[0], `le="+Inf"`) {
		t.Errorf("the buckets are %q", buckets)
	}
}
