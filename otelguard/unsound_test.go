package otelguard_test

import (
	"context"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
)

// wrapping has a method that fails on a nil pointer, as most have.
type wrapping struct{ inner error }

func (*wrapping) Error() string   { return "wrapping" }
func (w *wrapping) Unwrap() error { return w.inner }

type unsaid struct{}

func (unsaid) Error() string     { return "unsaid" }
func (unsaid) ErrorType() string { panic("error type") }

// over tells what is wrong with the end of one acquire and run: the spans have
// ended, the metrics are recorded and nothing is under way any more.
func over(t *testing.T, tel *telemetry, outcome ...kv) {
	t.Helper()
	tel.span(t, "acquire orders")
	tel.span(t, "run orders")
	if p := tel.histogram(t, "jobguard.run.duration", append(outcome, named("orders"))...); p.Count != 1 {
		t.Errorf("%d runs are counted with %v", p.Count, outcome)
	}
	for _, gauge := range []string{"jobguard.runs.active", "jobguard.waiters.active"} {
		if n, there := tel.sum(t, gauge, named("orders")); n != 0 || !there {
			t.Errorf("%s is %d at the end", gauge, n)
		}
	}
}

func TestErrorWhoseMethodsPanicIsRecordedAsOther(t *testing.T) {
	for name, err := range map[string]error{"Unwrap": (*wrapping)(nil), "ErrorType": unsaid{}} {
		t.Run(name, func(t *testing.T) {
			tel := newTelemetry()
			g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("orders"))
			_ = g.Do(t.Context(), "k", func(context.Context) error { return err })
			over(t, tel, str("jobguard.outcome", "error"), str("error.type", "_OTHER"))
		})
	}
}

func TestCauseWhoseMethodsPanicEndsAnAcquireAsOther(t *testing.T) {
	tel := newTelemetry()
	ctx := tel.AcquireStart(t.Context(), guard.AcquireStart{Name: "orders"})
	tel.AcquireEnd(ctx, guard.AcquireEnd{Err: &guard.Error{Kind: guard.ErrBusy, Err: (*wrapping)(nil)}})
	if s := tel.span(t, "acquire orders"); attr(s, "error.type").AsString() != "_OTHER" {
		t.Errorf("%v", s.Attributes)
	}
}

func TestKeyFunctionThatPanicsLeavesOutTheKey(t *testing.T) {
	tel := newTelemetry(otelguard.WithKeyAttribute(func(string) string { panic("key") }))
	g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("orders"))
	if err := g.Do(t.Context(), "k", nothing); err != nil {
		t.Errorf("Do() = %v", err)
	}
	over(t, tel, str("jobguard.outcome", "ok"))
	if s := tel.span(t, "run orders"); attr(s, "jobguard.key").AsString() != "" || attr(s, "jobguard.outcome").AsString() != "ok" {
		t.Errorf("%v", s.Attributes)
	}
}

// refusing is a sampler that panics for spans of one name.
type refusing string

func (refusing) Description() string { return "refusing" }
func (s refusing) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.Name == string(s) {
		panic("sampler")
	}
	return sdktrace.AlwaysSample().ShouldSample(p)
}

func TestNestedRunThatWasNotRecordedDoesNotEndTheOuterRun(t *testing.T) {
	tel := newTelemetry()
	spans := tracetest.NewInMemoryExporter()
	tel.Observer = otelguard.New(otelguard.WithMeterProvider(tel.meter), otelguard.WithTracerProvider(
		sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans), sdktrace.WithSampler(refusing("run inner")))))
	tel.spans = spans
	g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("orders"))
	if err := g.Do(t.Context(), "a", func(ctx context.Context) error {
		err := g.With(guard.Name("inner")).Do(ctx, "b", nothing)
		if n, _ := tel.sum(t, "jobguard.runs.active", named("orders")); n != 1 || len(tel.all("run orders")) != 0 {
			t.Errorf("after the run inside: %d active, %d ended", n, len(tel.all("run orders")))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	over(t, tel, str("jobguard.outcome", "ok"))
	// The same, if the guard reports the end all the same.
	ctx := tel.RunStart(t.Context(), guard.RunStart{Name: "outer", Keys: []string{"a"}})
	tel.RunEnd(ctx, guard.RunEnd{Name: "inner", Keys: []string{"b"}})
	if n, _ := tel.sum(t, "jobguard.runs.active", named("outer")); n != 1 {
		t.Errorf("%d active after the end of a run inside", n)
	}
}
