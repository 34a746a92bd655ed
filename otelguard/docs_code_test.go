package otelguard_test

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/otelguard"
)

// What the docs of the package show in passing, compiled only.

var _ = func(store lease.Store) (*guard.Guard, error) {
	g, err := guard.New(store, guard.Observe(otelguard.New()))
	orders := g.With(guard.Name("orders"))
	return orders, err
}

var _ = func(ctx context.Context, tracer trace.Tracer) (context.Context, trace.Span) {
	ctx, span := tracer.Start(ctx, "round", trace.WithLinks(trace.Link{SpanContext: otelguard.Term(ctx)}))
	return ctx, span
}
