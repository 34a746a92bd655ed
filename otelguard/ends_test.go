package otelguard_test

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
)

// ends counts how often each span is ended: the SDK makes nothing of a second time.
type ends struct {
	embedded.TracerProvider
	count map[string]int
}

type endsTracer struct {
	noop.Tracer
	ends *ends
}

type endsSpan struct {
	noop.Span
	ends *ends
	name string
}

func (e *ends) Tracer(string, ...trace.TracerOption) trace.Tracer { return endsTracer{ends: e} }
func (t endsTracer) Start(ctx context.Context, name string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	return ctx, endsSpan{ends: t.ends, name: name}
}
func (s endsSpan) End(...trace.SpanEndOption) { s.ends.count[s.name]++ }

func TestEachSpanIsEndedOnce(t *testing.T) {
	for name, fn := range map[string]func(context.Context) error{
		"ok": nothing, "error": func(context.Context) error { return errors.New("no") },
	} {
		spans := &ends{count: map[string]int{}}
		obs := otelguard.New(otelguard.WithTracerProvider(spans))
		_ = newGuard(t, guardtest.NewStore(), guard.Observe(obs), guard.Name("orders")).Do(t.Context(), "k", fn)
		if a, r := spans.count["acquire orders"], spans.count["run orders"]; a != 1 || r != 1 || len(spans.count) != 2 {
			t.Errorf("%s: %v", name, spans.count)
		}
	}
}
