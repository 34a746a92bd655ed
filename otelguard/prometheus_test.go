package otelguard_test

import (
	"bufio"
	"context"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/otelguard"
)

// The names that rules, dashboard and docs rely on stand in METRICS.txt.
func TestPrometheusNamesLabelsAndBucketsAreThoseOfMetricsTxt(t *testing.T) {
	registry := prometheus.NewRegistry()
	exporter, err := promexporter.New(promexporter.WithRegisterer(registry))
	if err != nil {
		t.Fatal(err)
	}
	obs := otelguard.New(otelguard.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(exporter))))
	everything(t, obs)

	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "jobguard_") {
			got = append(got, f.GetName()+" "+strings.ToLower(f.GetType().String())+" "+strings.Join(labelsOf(f), ",")+boundsOf(f))
		}
	}
	slices.Sort(got)
	if want := documented(t); !slices.Equal(got, want) {
		t.Errorf("exported\n%s\ndocumented\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// everything has each instrument used, with each of its labels.
func everything(t *testing.T, obs *otelguard.Observer) {
	end := func(e guard.AcquireEnd) {
		obs.AcquireEnd(obs.AcquireStart(t.Context(), guard.AcquireStart{Name: "orders"}), e)
	}
	end(guard.AcquireEnd{Contended: true})
	end(guard.AcquireEnd{Err: guard.ErrUnavailable})
	ctx := obs.RunStart(t.Context(), guard.RunStart{Name: "orders", TTL: time.Second})
	obs.Event(ctx, guard.Event{Kind: guard.EventRenewed, TTL: time.Second, Left: time.Second})
	obs.RunEnd(ctx, guard.RunEnd{Err: guard.ErrLost})
	obs.Watch(record.Watched{
		Name: "orders", Kinds: func() []string { return []string{"charge"} },
		Stats: func(context.Context) (record.Stats, error) { return record.Stats{}, nil },
	})
}

// labelsOf returns the labels of a family but for those of every metric.
func labelsOf(f *dto.MetricFamily) (names []string) {
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if !strings.HasPrefix(l.GetName(), "otel_scope_") && !slices.Contains(names, l.GetName()) {
				names = append(names, l.GetName())
			}
		}
	}
	slices.Sort(names)
	return names
}

// boundsOf returns the buckets of a histogram, as METRICS.txt has them.
func boundsOf(f *dto.MetricFamily) (bounds string) {
	buckets := f.GetMetric()[0].GetHistogram().GetBucket()
	if len(buckets) == 0 {
		return ""
	}
	for _, b := range buckets {
		if !math.IsInf(b.GetUpperBound(), 1) {
			bounds += " " + strings.TrimPrefix(strconv.FormatFloat(b.GetUpperBound(), 'f', -1, 64), "0")
		}
	}
	return " le" + bounds
}

func documented(t *testing.T) (lines []string) {
	f, err := os.Open("METRICS.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		switch {
		case strings.HasPrefix(s.Text(), "jobguard_"):
			lines = append(lines, strings.Join(fields[:3], " "))
		case fields[0] == "le": // of the metric before
			lines[len(lines)-1] += " " + strings.Join(fields, " ")
		}
	}
	slices.Sort(lines)
	return lines
}
