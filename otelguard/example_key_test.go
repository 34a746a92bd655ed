package otelguard_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
)

// Spans say what kind of thing a key is of, and not which customer's.
func ExampleWithKeyAttribute() {
	spans := tracetest.NewInMemoryExporter() // in production an exporter, in a batcher
	kind := func(key string) string {
		kind, _, _ := strings.Cut(key, ":")
		return kind
	}
	g, err := guard.New(guardtest.NewStore(), guard.Name("orders"), guard.Observe(otelguard.New(
		otelguard.WithTracerProvider(trace.NewTracerProvider(trace.WithSyncer(spans))),
		otelguard.WithKeyAttribute(kind))))
	if err != nil {
		log.Fatal(err)
	}
	err = g.Do(context.Background(), guard.Key("customer", "ada"), func(context.Context) error { return nil })
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range spans.GetSpans() {
		for _, a := range s.Attributes {
			if a.Key == "jobguard.key" {
				fmt.Println(s.Name, a.Value.AsString())
			}
		}
	}
	// Output:
	// acquire orders customer
	// run orders customer
}
