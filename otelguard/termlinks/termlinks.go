// Package termlinks links the traces that begin in a term of guard.Lead to the term.
//
//	trace.NewTracerProvider(trace.WithBatcher(spans), trace.WithSpanProcessor(termlinks.New()))
//
// It is a package of its own because it needs OpenTelemetry's SDK, and otelguard
// needs the API alone.
package termlinks

import (
	"context"
	"slices"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/jobguard/jobguard/otelguard"
)

// New returns a SpanProcessor that adds to each span without a parent, started with a
// context from a run under guard.Lead, a link to [otelguard.Term]. It has no state
// and starts nothing; one may serve several providers.
func New() sdktrace.SpanProcessor { return processor{} }

type processor struct{}

func (processor) OnStart(ctx context.Context, s sdktrace.ReadWriteSpan) {
	term := otelguard.Term(ctx)
	if !term.IsValid() || s.Parent().IsValid() {
		return
	}
	linked := func(l sdktrace.Link) bool { return l.SpanContext.Equal(term) }
	if !slices.ContainsFunc(s.Links(), linked) { // otelguard links its own spans
		s.AddLink(trace.Link{SpanContext: term})
	}
}

func (processor) OnEnd(sdktrace.ReadOnlySpan)      {}
func (processor) Shutdown(context.Context) error   { return nil }
func (processor) ForceFlush(context.Context) error { return nil }
