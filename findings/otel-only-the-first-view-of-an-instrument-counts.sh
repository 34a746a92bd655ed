#!/usr/bin/env bash
# go.opentelemetry.io/otel/sdk/metric v1.47.0, Go 1.26.
#
# Of several views that match an instrument and keep its name, only the first has an effect; the
# rest is ignored without an error or a log line. The specification asks to apply each, and to
# warn if their streams have the same name. So a view for all instruments ("*", to drop an
# attribute) undoes a later one that sets a histogram's buckets, and in the other order the
# attribute stays: neither order gives both. One view has to set both.
#
# Output seen:
#   buckets: bounds [0.1 1 10], attributes 1
#   no "user", then buckets: bounds of the default, attributes 0
#   buckets, then no "user": bounds [0.1 1 10], attributes 1
#   both in one view: bounds [0.1 1 10], attributes 0
set -euo pipefail
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
go mod init finding >/dev/null 2>&1
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	ctx := context.Background()
	bounds := sdk.AggregationExplicitBucketHistogram{Boundaries: []float64{0.1, 1, 10}}
	filter := attribute.NewDenyKeysFilter("user")
	wait := sdk.Instrument{Name: "lock.wait"}
	all := sdk.NewView(sdk.Instrument{Name: "*"}, sdk.Stream{AttributeFilter: filter})
	buckets := sdk.NewView(wait, sdk.Stream{Aggregation: bounds})
	for _, c := range []struct {
		name  string
		views []sdk.View
	}{
		{"buckets", []sdk.View{buckets}},
		{`no "user", then buckets`, []sdk.View{all, buckets}},
		{`buckets, then no "user"`, []sdk.View{buckets, all}},
		{"both in one view", []sdk.View{sdk.NewView(wait, sdk.Stream{Aggregation: bounds, AttributeFilter: filter})}},
	} {
		reader := sdk.NewManualReader()
		meter := sdk.NewMeterProvider(sdk.WithReader(reader), sdk.WithView(c.views...)).Meter("finding")
		histogram, err := meter.Float64Histogram("lock.wait", metric.WithUnit("s"))
		must(err)
		histogram.Record(ctx, 0.05, metric.WithAttributes(attribute.String("user", "u")))
		var got metricdata.ResourceMetrics
		must(reader.Collect(ctx, &got))
		for _, m := range got.ScopeMetrics[0].Metrics {
			for _, point := range m.Data.(metricdata.Histogram[float64]).DataPoints {
				shown := fmt.Sprint(point.Bounds)
				if len(point.Bounds) == 15 {
					shown = "of the default"
				}
				fmt.Printf("%s: bounds %s, attributes %d\n", c.name, shown, point.Attributes.Len())
			}
		}
	}
}
GO
go get go.opentelemetry.io/otel/sdk/metric@v1.47.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go build -o program .
out=$(./program 2>&1)
echo "$out"
[ "$out" = 'buckets: bounds [0.1 1 10], attributes 1
no "user", then buckets: bounds of the default, attributes 0
buckets, then no "user": bounds [0.1 1 10], attributes 1
both in one view: bounds [0.1 1 10], attributes 0' ] || { echo "changed"; exit 1; }
