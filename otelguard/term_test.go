package otelguard_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
	"github.com/jobguard/jobguard/otelguard/termlinks"
)

// linksTo returns where the links of s lead.
func linksTo(s tracetest.SpanStub) (ids []trace.SpanID) {
	for _, l := range s.Links {
		ids = append(ids, l.SpanContext.SpanID())
	}
	return ids
}

func TestWorkOfATermBeginsTracesLinkedToTheTerm(t *testing.T) {
	for name, links := range map[string]bool{"with termlinks": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			tel := newTelemetry()
			if links {
				tel.tracer.RegisterSpanProcessor(termlinks.New())
			}
			g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("leader"))
			user := tel.tracer.Tracer("user")
			ctx, boot := user.Start(t.Context(), "boot")
			err := g.Lead(ctx, "k", func(ctx context.Context) error {
				if in := otelguard.Term(ctx); !in.IsValid() || in.TraceID() != boot.SpanContext().TraceID() {
					t.Errorf("the term is %v, want a span of the caller's trace", in)
				}
				round, span := user.Start(ctx, "round")
				defer span.End()
				_, child := user.Start(round, "step")
				child.End()
				return g.With(guard.Name("job")).Do(ctx, "job", nothing)
			})
			boot.End()
			if err != nil {
				t.Fatal(err)
			}
			run, round := tel.span(t, "run leader"), tel.span(t, "round")
			if run.Parent.SpanID() != boot.SpanContext().SpanID() || attr(run, "jobguard.piece").AsInt64() != 1 {
				t.Errorf("the first piece has parent %v and attributes %v", run.Parent, run.Attributes)
			}
			term := []trace.SpanID{run.SpanContext.SpanID()}
			want := map[string][]trace.SpanID{"round": nil, "step": nil, "acquire job": term, "run job": nil}
			if links {
				want["round"] = term
			}
			for name, links := range want {
				if s := tel.span(t, name); !slices.Equal(linksTo(s), links) {
					t.Errorf("%s has links %v, want %v", name, linksTo(s), links)
				}
			}
			for _, name := range []string{"round", "acquire job"} {
				if s := tel.span(t, name); s.Parent.IsValid() || s.SpanContext.TraceID() == run.SpanContext.TraceID() {
					t.Errorf("%s has parent %v, want a trace of its own", name, s.Parent)
				}
			}
			childOf(t, tel, round, "step")
			childOf(t, tel, tel.span(t, "acquire job"), "run job")
		})
	}
}

func TestTermIsToldInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("leader"))
		var first trace.SpanContext
		if err := g.Lead(t.Context(), "k", func(ctx context.Context) error {
			first = otelguard.Term(ctx)
			time.Sleep(time.Hour)
			if n := len(tel.all("run leader")); n < 10 || n > 12 {
				t.Errorf("after an hour %d pieces have been told", n)
			}
			if now := otelguard.Term(ctx); !now.IsValid() || now.TraceID() == first.TraceID() {
				t.Errorf("after an hour the term is still %v", now)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		pieces, renewals := tel.all("run leader"), int64(0)
		for i, p := range pieces {
			last := i == len(pieces)-1
			want := "leading"
			if last {
				want = "ok"
			}
			if attr(p, "jobguard.outcome").AsString() != want || attr(p, "jobguard.piece").AsInt64() != int64(i+1) || attr(p, "jobguard.fence").AsInt64() == 0 {
				t.Errorf("piece %d: %v", i, p.Attributes)
			}
			if took := p.EndTime.Sub(p.StartTime); !last && (took < 5*time.Minute || took > 6*time.Minute) {
				t.Errorf("piece %d took %v", i, took)
			}
			renewals += attr(p, "jobguard.renewals").AsInt64()
			if i > 0 && (p.Parent.IsValid() || !slices.Equal(linksTo(p), []trace.SpanID{pieces[i-1].SpanContext.SpanID()})) {
				t.Errorf("piece %d has parent %v and links %v, want one to the piece before", i, p.Parent, linksTo(p))
			}
		}
		if pieces[0].SpanContext.SpanID() != first.SpanID() || pieces[0].Parent.SpanID() != tel.span(t, "acquire leader").SpanContext.SpanID() {
			t.Errorf("the first piece is %v with parent %v", pieces[0].SpanContext, pieces[0].Parent)
		}
		if n, _ := tel.sum(t, "jobguard.renewals", named("leader"), str("jobguard.result", "ok")); n == 0 || n != renewals {
			t.Errorf("%d renewals counted, %d on the pieces", n, renewals)
		}
		if p := tel.histogram(t, "jobguard.run.duration", named("leader"), str("jobguard.outcome", "ok")); p.Count != 1 || p.Sum < 3600 {
			t.Errorf("%d runs of %v s, want one of an hour", p.Count, p.Sum)
		}
	})
}

func TestLossOfATermIsLoggedInThePieceOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.Observe(tel), guard.Name("leader"))
		terms := 0
		if err := g.Lead(t.Context(), "k", func(ctx context.Context) error {
			if terms++; terms > 1 {
				return nil
			}
			time.Sleep(12 * time.Minute)
			store.Expire("k")
			<-ctx.Done()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		pieces := tel.all("run leader") // three of the first term, one of the second
		if len(pieces) != 4 || attr(pieces[2], "jobguard.outcome").AsString() != "lost" {
			t.Fatalf("pieces %v", pieces)
		}
		lost := tel.logs.of("jobguard.lease.lost")
		if len(lost) != 1 || lost[0].SpanID() != pieces[2].SpanContext.SpanID() {
			t.Errorf("logged %d times, in span %v", len(lost), lost[0].SpanID())
		}
		if len(linksTo(pieces[3])) != 0 {
			t.Errorf("the second term has links %v", linksTo(pieces[3]))
		}
	})
}

// A program that samples one trace in ten: each term does a thing 200 times.
func TestEveryTermLeavesTracesWhenFewAreSampled(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans), sdktrace.WithSpanProcessor(termlinks.New()),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(.1))))
	g := newGuard(t, guardtest.NewStore(), guard.Observe(otelguard.New(otelguard.WithTracerProvider(tracers))))
	const terms = 30
	traces := 0
	for i := range terms {
		spans.Reset()
		if err := g.Lead(t.Context(), "leader", func(ctx context.Context) error {
			for range 200 {
				_, span := tracers.Tracer("user").Start(ctx, "round")
				span.End()
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		rounds := 0
		for _, s := range spans.GetSpans() {
			if s.Name == "round" && len(s.Links) == 1 {
				rounds++
			}
		}
		if rounds == 0 {
			t.Errorf("term %d left no trace of anything", i)
		}
		traces += rounds
	}
	if traces < 200*terms/20 || traces > 200*terms/5 {
		t.Errorf("%d of %d rounds were sampled, want about a tenth", traces, 200*terms)
	}
}
