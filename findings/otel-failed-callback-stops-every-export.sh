#!/usr/bin/env bash
# go.opentelemetry.io/otel/sdk/metric v1.47.0, Go 1.26.
#
# A callback of an observable instrument may return an error. With a PeriodicReader one that
# does costs the export of all metrics of the provider, those of other meters and of synchronous
# instruments too, for as long as it fails: Collect gathers everything and returns the error
# beside it, and the reader exports only if there is none. A callback that asks a server should
# return nil, observe nothing and count the failure.
#
# Output seen:
#   callback returns nil: the counter is exported
#   callback returns an error: the counter is not exported
set -euo pipefail
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
go mod init finding >/dev/null 2>&1
cat > main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// exporter notes whether the counter reached it.
type exporter struct{ counter bool }

func (e *exporter) Temporality(sdk.InstrumentKind) metricdata.Temporality {
	return metricdata.CumulativeTemporality
}
func (e *exporter) Aggregation(k sdk.InstrumentKind) sdk.Aggregation { return sdk.DefaultAggregationSelector(k) }
func (e *exporter) Export(_ context.Context, rm *metricdata.ResourceMetrics) error {
	for _, s := range rm.ScopeMetrics {
		for _, m := range s.Metrics {
			e.counter = e.counter || m.Name == "requests"
		}
	}
	return nil
}
func (e *exporter) ForceFlush(context.Context) error { return nil }
func (e *exporter) Shutdown(context.Context) error   { return nil }

func main() {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	ctx, e := context.Background(), &exporter{}
	provider := sdk.NewMeterProvider(sdk.WithReader(sdk.NewPeriodicReader(e)))
	requests, _ := provider.Meter("the program").Int64Counter("requests")
	requests.Add(ctx, 1)
	other := provider.Meter("a library")
	depth, _ := other.Int64ObservableGauge("depth")
	_, _ = other.RegisterCallback(func(context.Context, metric.Observer) error {
		if os.Args[1] == "fails" {
			return errors.New("the server does not answer")
		}
		return nil
	}, depth)
	_ = provider.ForceFlush(ctx)
	if e.counter {
		fmt.Println("the counter is exported")
	} else {
		fmt.Println("the counter is not exported")
	}
}
GO
go get go.opentelemetry.io/otel@v1.47.0 go.opentelemetry.io/otel/metric@v1.47.0 go.opentelemetry.io/otel/sdk/metric@v1.47.0 >/dev/null 2>&1
go build -o program .
got="callback returns nil: $(./program works)
callback returns an error: $(./program fails)"
echo "$got"
[ "$got" = "callback returns nil: the counter is exported
callback returns an error: the counter is not exported" ]
