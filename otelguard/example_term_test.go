package otelguard_test

import (
	"context"
	"fmt"
	"log"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
)

// What a leader does is in traces of its own. A link leads from each to the term.
func ExampleTerm() {
	spans := tracetest.NewInMemoryExporter() // in production an exporter, in a batcher
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	g, err := guard.New(guardtest.NewStore(), guard.Name("relay"), guard.Observe(otelguard.New(otelguard.WithTracerProvider(tracers))))
	if err != nil {
		log.Fatal(err)
	}
	tracer := tracers.Tracer("shop")
	err = g.Lead(context.Background(), "relay", func(ctx context.Context) error {
		ctx, span := tracer.Start(ctx, "round", trace.WithLinks(trace.Link{SpanContext: otelguard.Term(ctx)}))
		defer span.End()
		return ctx.Err()
	})
	if err != nil {
		log.Fatal(err)
	}
	names := make(map[trace.SpanID]string)
	for _, s := range spans.GetSpans() {
		names[s.SpanContext.SpanID()] = s.Name
	}
	for _, s := range spans.GetSpans() {
		for _, link := range s.Links {
			fmt.Println(s.Name, "has a link to", names[link.SpanContext.SpanID()])
		}
	}
	// Output: round has a link to run relay
}
