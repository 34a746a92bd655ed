package otelguard_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
)

func TestRunIsTheParentOfUserCodeAndTheCallerOfBoth(t *testing.T) {
	tel := newTelemetry()
	g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("orders"))
	ctx, request := tel.tracer.Tracer("user").Start(t.Context(), "request")
	err := g.Do(ctx, "k", func(ctx context.Context) error {
		_, span := tel.tracer.Tracer("user").Start(ctx, "work")
		span.End()
		return nil
	})
	request.End()
	if err != nil {
		t.Fatal(err)
	}
	acquire, run, work := tel.span(t, "acquire orders"), tel.span(t, "run orders"), tel.span(t, "work")
	for _, s := range []struct {
		name        string
		got, parent [8]byte
	}{
		{"acquire", acquire.Parent.SpanID(), request.SpanContext().SpanID()},
		{"run", run.Parent.SpanID(), request.SpanContext().SpanID()},
		{"work", work.Parent.SpanID(), run.SpanContext.SpanID()},
	} {
		if s.got != s.parent {
			t.Errorf("%s has parent %x, want %x", s.name, s.got, s.parent)
		}
	}
	if acquire.InstrumentationScope.Name != "github.com/jobguard/jobguard/otelguard" {
		t.Errorf("scope %q", acquire.InstrumentationScope.Name)
	}
}

func TestWithoutACallersSpanAcquireAndRunAreOneTrace(t *testing.T) {
	tel := newTelemetry()
	g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("nightly"))
	if err := g.Do(t.Context(), "k", nothing); err != nil {
		t.Fatal(err)
	}
	acquire, run := tel.span(t, "acquire nightly"), tel.span(t, "run nightly")
	if run.Parent.SpanID() != acquire.SpanContext.SpanID() || run.SpanContext.TraceID() != acquire.SpanContext.TraceID() {
		t.Errorf("the run's parent is %v, want %v", run.Parent, acquire.SpanContext)
	}
}

func TestRunUnderSeveralKeysLinksToTheOtherAcquires(t *testing.T) {
	tel := newTelemetry()
	g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("move"))
	if err := g.DoAll(t.Context(), []string{"a", "b", "c"}, nothing); err != nil {
		t.Fatal(err)
	}
	run, acquires := tel.span(t, "run move"), tel.all("acquire move")
	if run.Parent.SpanID() != acquires[0].SpanContext.SpanID() {
		t.Errorf("the run's parent is %v, want that of the first key", run.Parent)
	}
	if len(run.Links) != 2 || run.Links[0].SpanContext.SpanID() != acquires[1].SpanContext.SpanID() ||
		run.Links[1].SpanContext.SpanID() != acquires[2].SpanContext.SpanID() {
		t.Errorf("links %+v", run.Links)
	}
	if got := attr(run, "jobguard.tokens").AsInt64Slice(); len(got) != 3 {
		t.Errorf("tokens %v", got)
	}
}

// A link says where else to look: not into the trace that the run is in.
func TestAcquiresOfOneTraceAreNotLinked(t *testing.T) {
	tel := newTelemetry()
	const trace1, trace2 = "00-0af7651916cd43dd8448eb211c80319c-", "00-1af7651916cd43dd8448eb211c80319c-"
	ctx := tel.RunStart(t.Context(), guard.RunStart{Name: "move", Keys: []string{"a", "b", "c"}, Metadata: []string{
		trace1 + "b7ad6b7169203331-01", trace1 + "b7ad6b7169203332-01", trace2 + "b7ad6b7169203333-01",
	}})
	tel.RunEnd(ctx, guard.RunEnd{Keys: []string{"a", "b", "c"}})
	run := tel.span(t, "run move")
	if len(run.Links) != 1 || run.Links[0].SpanContext.SpanID().String() != "b7ad6b7169203333" {
		t.Errorf("links %+v, want one to the other trace", run.Links)
	}
}

func TestAcquireSpanHasTheNumberOfStoreCalls(t *testing.T) {
	tel := newTelemetry()
	ctx := tel.AcquireStart(t.Context(), guard.AcquireStart{Name: "orders"})
	tel.AcquireEnd(ctx, guard.AcquireEnd{Attempts: 7})
	if got := attr(tel.span(t, "acquire orders"), "jobguard.attempts").AsInt64(); got != 7 {
		t.Errorf("%d attempts, want 7", got)
	}
}

func TestContendedAcquireLinksToTheHolder(t *testing.T) {
	for name, wait := range map[string]guard.Option{"granted after a wait": guard.Forever(), "refused": guard.Wait(0)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				holder, waiter := newTelemetry(), newTelemetry()
				here := newGuard(t, store, guard.Observe(holder), guard.Name("job"))
				there := newGuard(t, store, guard.Observe(waiter), guard.Name("request"), wait)
				running := make(chan struct{})
				done := make(chan error, 1)
				go func() {
					done <- here.Do(t.Context(), "k", func(context.Context) error {
						close(running)
						time.Sleep(time.Second)
						return nil
					})
				}()
				<-running
				_ = there.Do(t.Context(), "k", nothing)
				if err := <-done; err != nil {
					t.Error(err)
				}
				free, blocked := holder.span(t, "acquire job"), waiter.span(t, "acquire request")
				if len(free.Links) != 0 || attr(free, "jobguard.contended").AsBool() {
					t.Errorf("the holder's acquire is contended: %+v", free)
				}
				if len(blocked.Links) != 1 || blocked.Links[0].SpanContext.SpanID() != free.SpanContext.SpanID() {
					t.Fatalf("links %+v, want one to %v", blocked.Links, free.SpanContext)
				}
				if !attr(blocked, "jobguard.contended").AsBool() {
					t.Error("not marked as contended")
				}
				run := holder.span(t, "run job")
				if blocked.Links[0].SpanContext.TraceID() != run.SpanContext.TraceID() {
					t.Error("the link does not lead to the trace of the run that blocks")
				}
				if n, _ := waiter.sum(t, "jobguard.acquire.contended", named("request")); n != 1 {
					t.Errorf("contended %d times", n)
				}
			})
		})
	}
}

func TestForeignHolderIsContentionWithoutALink(t *testing.T) {
	for _, text := range []string{
		"deploy-script", "id:1|host|not a traceparent",
		"id:1|host|00-00000000000000000000000000000000-0000000000000000-01",
		"id:1|host|00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-zz",
	} {
		tel := newTelemetry()
		store := guardtest.NewStore()
		store.Hold("k", text)
		g := newGuard(t, store, guard.Observe(tel), guard.Name("orders"), guard.Wait(0))
		_ = g.Do(t.Context(), "k", nothing)
		if s := tel.span(t, "acquire orders"); len(s.Links) != 0 || !attr(s, "jobguard.contended").AsBool() {
			t.Errorf("%q: %+v", text, s)
		}
	}
}

func TestEveryEndOfAnAcquireHasItsOutcome(t *testing.T) {
	down := errors.New("connection refused")
	for name, c := range map[string]struct {
		opt       guard.Option
		break_    func(*guardtest.Store)
		patience  time.Duration // of the caller
		errorType string
	}{
		"acquired": {guard.Forever(), func(*guardtest.Store) {}, time.Hour, ""},
		"busy":     {guard.Wait(0), func(s *guardtest.Store) { s.Hold("k", "x") }, time.Hour, ""},
		"timeout":  {guard.Wait(time.Second), func(s *guardtest.Store) { s.Hold("k", "x") }, time.Hour, ""},
		"canceled": {guard.Forever(), func(s *guardtest.Store) { s.Hold("k", "x") }, time.Second, ""},
		"error":    {guard.Wait(time.Second), func(s *guardtest.Store) { s.Fail(down) }, time.Hour, "unavailable"},
		// Most callers have a deadline; it must not hide that the store is away.
		"error, and the caller ends": {guard.Forever(), func(s *guardtest.Store) { s.Fail(down) }, time.Second, "unavailable"},
	} {
		want, _, _ := strings.Cut(name, ",")
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tel := newTelemetry()
				store := guardtest.NewStore()
				g := newGuard(t, store, guard.Observe(tel), guard.Name("orders"), c.opt)
				c.break_(store)
				ctx, cancel := context.WithTimeout(t.Context(), c.patience)
				defer cancel()
				_ = g.Do(ctx, "k", nothing)
				s := tel.span(t, "acquire orders")
				if got := attr(s, "jobguard.outcome").AsString(); got != want {
					t.Errorf("outcome %q, want %q", got, want)
				}
				if got := attr(s, "error.type").AsString(); got != c.errorType {
					t.Errorf("error.type %q, want %q", got, c.errorType)
				}
				if failed := s.Status.Code == codes.Error; failed != (c.errorType != "") {
					t.Errorf("status %v", s.Status)
				}
				if len(s.Events) != 0 {
					t.Errorf("errors were recorded as events: %v", s.Events)
				}
				if attr(s, "jobguard.attempts").AsInt64() < 1 {
					t.Error("no attempts")
				}
				labels := []kv{named("orders"), str("jobguard.outcome", want)}
				if c.errorType != "" {
					labels = append(labels, str("error.type", c.errorType))
				}
				if n, _ := tel.sum(t, "jobguard.acquire.failures", named("orders")); (n == 1) != (want == "error") {
					t.Errorf("%d failures", n)
				}
				p := tel.histogram(t, "jobguard.acquire.duration", labels...)
				if waited := attr(s, "jobguard.waited").AsFloat64(); p.Count != 1 || p.Sum != waited {
					t.Errorf("%d waits of %v s, the span says %v s", p.Count, p.Sum, waited)
				}
			})
		})
	}
}

type oops struct{}

func (oops) Error() string { return "k failed" }

func TestEveryEndOfARunHasItsOutcome(t *testing.T) {
	for want, c := range map[string]struct {
		fn                 func(*guardtest.Store, context.Context) error
		errorType, release string
	}{
		"ok":    {func(*guardtest.Store, context.Context) error { time.Sleep(5 * time.Second); return nil }, "", "released"},
		"error": {func(*guardtest.Store, context.Context) error { return oops{} }, "github.com/jobguard/jobguard/otelguard_test.oops", "released"},
		"lost": {func(s *guardtest.Store, ctx context.Context) error {
			s.Hold("k", "thief")
			<-ctx.Done()
			return oops{}
		}, "lost", "lost"},
		"max_hold": {func(_ *guardtest.Store, ctx context.Context) error { <-ctx.Done(); return nil }, "max_hold", "released"},
		"panic":    {func(*guardtest.Store, context.Context) error { panic("k") }, "panic", "released"},
	} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tel := newTelemetry()
				store := guardtest.NewStore()
				g := newGuard(t, store, guard.Observe(tel), guard.Name("orders"), guard.MaxHold(time.Minute))
				func() {
					defer func() { _ = recover() }()
					_ = g.Do(t.Context(), "k", func(ctx context.Context) error { return c.fn(store, ctx) })
				}()
				s := tel.span(t, "run orders")
				if got := attr(s, "jobguard.outcome").AsString(); got != want {
					t.Errorf("outcome %q, want %q", got, want)
				}
				if got := attr(s, "error.type").AsString(); got != c.errorType {
					t.Errorf("error.type %q, want %q", got, c.errorType)
				}
				if failed := s.Status.Code == codes.Error; failed != (want != "ok") || len(s.Events) != 0 {
					t.Errorf("status %v, events %v", s.Status, s.Events)
				}
				if got := attr(s, "jobguard.release").AsString(); got != c.release {
					t.Errorf("release %q, want %q", got, c.release)
				}
				if attr(s, "jobguard.ttl").AsFloat64() != 10 || attr(s, "jobguard.fence").AsInt64() == 0 {
					t.Errorf("attributes %v", s.Attributes)
				}
				if want == "ok" && attr(s, "jobguard.renewals").AsInt64() != 1 {
					t.Errorf("%v renewals in 5 s, want one", attr(s, "jobguard.renewals"))
				}
				labels := []kv{named("orders"), str("jobguard.outcome", want)}
				if c.errorType != "" {
					labels = append(labels, str("error.type", c.errorType))
				}
				if p := tel.histogram(t, "jobguard.run.duration", labels...); p.Count != 1 {
					t.Errorf("jobguard.run.duration has %d runs of these labels", p.Count)
				}
			})
		})
	}
}

// It did not end as its caller wanted, so it is an error; no lease was lost, so no alert fires.
func TestRunThatIsToldToStopIsAnErrorOfItsOwnTypeAndNoLoss(t *testing.T) {
	untilTold := func(ctx context.Context) error { <-ctx.Done(); return nil }
	for want, c := range map[string]struct {
		tell        func(*guardtest.Store, *guard.Guard) error
		description string
	}{
		"revoked":  {func(s *guardtest.Store, _ *guard.Guard) error { return s.Revoke("k", "by Ada") }, "an operator told the run to stop"},
		"replaced": {func(_ *guardtest.Store, g *guard.Guard) error { return g.Do(context.Background(), "k", nothing) }, "a newcomer told the run to stop"},
	} {
		synctest.Test(t, func(t *testing.T) {
			tel := newTelemetry()
			store := guardtest.NewStore()
			g := newGuard(t, store, guard.Observe(tel), guard.Name("orders"))
			ended := make(chan error, 1)
			go func() { ended <- g.Do(t.Context(), "k", untilTold) }()
			time.Sleep(time.Second)
			if err := c.tell(store, g.With(guard.Replace(), guard.Name("newcomer"))); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, guard.ErrRevoked) && !errors.Is(err, guard.ErrReplaced) {
				t.Fatal(err)
			}
			s := tel.span(t, "run orders")
			if attr(s, "jobguard.outcome").AsString() != "error" || attr(s, "error.type").AsString() != want || attr(s, "jobguard.release").AsString() != "released" {
				t.Errorf("%s: %v", want, s.Attributes)
			}
			if s.Status.Description != c.description {
				t.Errorf("%s: described as %q", want, s.Status.Description)
			}
			p := tel.histogram(t, "jobguard.run.duration", named("orders"), str("jobguard.outcome", "error"), str("error.type", want))
			if p.Count != 1 {
				t.Errorf("%s: %d runs", want, p.Count)
			}
			for _, reason := range []string{"expired", "not_owner", "max_hold"} {
				if n, _ := tel.sum(t, "jobguard.leases.lost", named("orders"), str("jobguard.reason", reason)); n != 0 {
					t.Errorf("%s: %d leases lost, %s", want, n, reason)
				}
			}
			if n := len(tel.logs.of("jobguard.lease.lost")); n != 0 {
				t.Errorf("%s: %d events of a loss", want, n)
			}
		})
	}
}

// A later newcomer waits in its place: for the caller, its wait is over.
func TestNewcomerThatALaterOneReplacesTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("orders"))
		ended := make(chan error, 3)
		for i, opt := range [][]guard.Option{nil, {guard.Replace(), guard.Name("earlier")}, {guard.Replace(), guard.Name("later")}} {
			go func() {
				ended <- g.With(opt...).Do(t.Context(), "k", func(context.Context) error { time.Sleep(time.Minute); return nil })
			}()
			time.Sleep(time.Duration(i+1) * time.Second)
		}
		if err := <-ended; !errors.Is(err, guard.ErrReplaced) || !errors.Is(err, guard.ErrBusy) {
			t.Fatal(err)
		}
		if s := tel.span(t, "acquire earlier"); attr(s, "jobguard.outcome").AsString() != "timeout" || s.Status.Code == codes.Error {
			t.Errorf("%v, %v", s.Attributes, s.Status)
		}
		<-ended
		<-ended
	})
}

func TestErrorOfANestedRunIsNotTheOuterRunsLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		store := guardtest.NewStore()
		outer := newGuard(t, store, guard.Observe(tel), guard.Name("outer"))
		inner := outer.With(guard.Name("inner"))
		_ = outer.Do(t.Context(), "a", func(ctx context.Context) error {
			return inner.Do(ctx, "b", func(ctx context.Context) error {
				store.Hold("b", "thief")
				<-ctx.Done()
				return nil
			})
		})
		if s := tel.span(t, "run outer"); attr(s, "jobguard.outcome").AsString() != "error" ||
			attr(s, "jobguard.release").AsString() != "released" || attr(s, "error.type").AsString() != "lost" {
			t.Errorf("outer: %v", s.Attributes)
		}
		if s := tel.span(t, "run inner"); attr(s, "jobguard.outcome").AsString() != "lost" {
			t.Errorf("inner: %v", s.Attributes)
		}
	})
}

func TestKeyAttributeIsWhatTheFunctionReturns(t *testing.T) {
	tel := newTelemetry(otelguard.WithKeyAttribute(func(key string) string { return key[:1] + "…" }))
	g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("one"))
	if err := g.Do(t.Context(), "customer", nothing); err != nil {
		t.Fatal(err)
	}
	if err := g.With(guard.Name("two")).DoAll(t.Context(), []string{"a", "b"}, nothing); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"acquire one", "run one"} {
		if got := attr(tel.span(t, name), "jobguard.key").AsString(); got != "c…" {
			t.Errorf("%s: key %q", name, got)
		}
	}
	if got := attr(tel.span(t, "run two"), "jobguard.keys").AsStringSlice(); len(got) != 2 || got[1] != "b…" {
		t.Errorf("keys %q", got)
	}
	ctx := tel.RunStart(t.Context(), guard.RunStart{Name: "three", Keys: []string{"customer"}})
	tel.Event(ctx, guard.Event{Kind: guard.EventLost, Key: "customer", Reason: guard.LostExpired})
	if r := tel.logs.of("jobguard.lease.lost"); len(r) != 1 || logAttr(&r[0], "jobguard.key") != "c…" {
		t.Errorf("log events %v", r)
	}
}
