package otelguard_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
)

func TestCountersBeginAtZero(t *testing.T) {
	tel := newTelemetry(otelguard.WithNames("known"))
	store := guardtest.NewStore()
	g := newGuard(t, store, guard.Observe(tel), guard.Name("seen"))
	_ = g.Do(t.Context(), "k", func(context.Context) error {
		for _, name := range []string{"known", "seen"} {
			for _, c := range []struct {
				metric string
				labels []kv
			}{
				{"jobguard.leases.lost", []kv{str("jobguard.reason", "expired")}},
				{"jobguard.leases.lost", []kv{str("jobguard.reason", "not_owner")}},
				{"jobguard.leases.lost", []kv{str("jobguard.reason", "max_hold")}},
				{"jobguard.renewals", []kv{str("jobguard.result", "ok")}},
				{"jobguard.renewals", []kv{str("jobguard.result", "failed")}},
				{"jobguard.release.failures", nil},
				{"jobguard.acquire.contended", nil},
				{"jobguard.acquire.failures", nil},
				{"jobguard.key.errors", nil},
			} {
				if n, ok := tel.sum(t, c.metric, append(c.labels, named(name))...); n != 0 || !ok {
					t.Errorf("%s %s %v: %d, %v", name, c.metric, c.labels, n, ok)
				}
			}
		}
		return nil
	})
}

func TestHoldTimeIsComparedWithTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("orders"), guard.TTL(20*time.Second))
		if err := g.Do(t.Context(), "k", func(context.Context) error { time.Sleep(30 * time.Second); return nil }); err != nil {
			t.Error(err)
		}
		if p := tel.histogram(t, "jobguard.run.ttl_ratio", named("orders")); p.Count != 1 || p.Sum != 1.5 {
			t.Errorf("%d runs of %v TTL", p.Count, p.Sum)
		}
		if p := tel.histogram(t, "jobguard.run.duration", named("orders"), str("jobguard.outcome", "ok")); p.Sum != 30 {
			t.Errorf("held for %v s", p.Sum)
		}
		renewals, _ := tel.sum(t, "jobguard.renewals", named("orders"), str("jobguard.result", "ok"))
		p := tel.histogram(t, "jobguard.renewal.trust_left", named("orders"))
		if renewals == 0 || p.Count != uint64(renewals) || p.Sum/float64(p.Count) < .5 || p.Sum/float64(p.Count) > .65 {
			t.Errorf("%d renewals, %d with %v of the TTL left in all", renewals, p.Count, p.Sum)
		}
	})
}

func TestLossesAndFailuresAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.Observe(tel), guard.Name("orders"), guard.MaxHold(time.Minute))
		untilLost := func(_ context.Context, lose func()) func(context.Context) error {
			return func(ctx context.Context) error { lose(); <-ctx.Done(); return nil }
		}
		_ = g.Do(t.Context(), "stolen", untilLost(t.Context(), func() { store.Hold("stolen", "thief") }))
		_ = g.Do(t.Context(), "long", untilLost(t.Context(), func() {}))
		_ = g.Do(t.Context(), "down", untilLost(t.Context(), func() { store.Fail(errors.New("down")) }))
		store.Fail(nil)
		_ = g.Do(t.Context(), "unreleased", func(context.Context) error { store.Fail(errors.New("down")); return nil })
		store.Fail(nil)
		if err := g.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		for _, reason := range []string{"not_owner", "max_hold", "expired"} {
			if n, _ := tel.sum(t, "jobguard.leases.lost", named("orders"), str("jobguard.reason", reason)); n != 1 {
				t.Errorf("lost for reason %s: %d", reason, n)
			}
		}
		if n, _ := tel.sum(t, "jobguard.renewals", named("orders"), str("jobguard.result", "failed")); n == 0 {
			t.Error("no failed renewals")
		}
		if n, _ := tel.sum(t, "jobguard.release.failures", named("orders")); n != 1 {
			t.Errorf("%d failed releases", n)
		}
	})
}

func TestExemplarOfALossLeadsToTheRun(t *testing.T) {
	tel := newTelemetry()
	ctx := tel.RunStart(t.Context(), guard.RunStart{Name: "orders", TTL: time.Second})
	tel.Event(ctx, guard.Event{Kind: guard.EventLost, TTL: time.Second, Reason: guard.LostExpired})
	tel.RunEnd(ctx, guard.RunEnd{Lost: guard.LostExpired})
	want := tel.span(t, "run orders").SpanContext.SpanID()
	var found []metricdata.Exemplar[int64]
	for _, p := range tel.metrics(t)["jobguard.leases.lost"].Data.(metricdata.Sum[int64]).DataPoints {
		found = append(found, p.Exemplars...)
	}
	if len(found) != 1 || [8]byte(found[0].SpanID) != want {
		t.Errorf("exemplars %v, want one of span %v", found, want)
	}
}

func TestExemplarsLeadToTheSpans(t *testing.T) {
	tel := newTelemetry()
	g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("orders"))
	if err := g.Do(t.Context(), "k", nothing); err != nil {
		t.Fatal(err)
	}
	for metric, span := range map[string]string{"jobguard.acquire.duration": "acquire orders", "jobguard.run.duration": "run orders"} {
		data := tel.metrics(t)[metric].Data.(metricdata.Histogram[float64])
		want := tel.span(t, span).SpanContext.SpanID()
		exemplars := data.DataPoints[0].Exemplars
		if len(exemplars) != 1 || [8]byte(exemplars[0].SpanID) != want {
			t.Errorf("%s: exemplars %v, want one of span %v", metric, exemplars, want)
		}
	}
}

func TestGuardWithoutANameIsUnnamed(t *testing.T) {
	tel := newTelemetry()
	if err := newGuard(t, guardtest.NewStore(), guard.Observe(tel)).Do(t.Context(), "k", nothing); err != nil {
		t.Fatal(err)
	}
	if s := tel.span(t, "run unnamed"); attr(s, "jobguard.name").AsString() != "unnamed" {
		t.Errorf("%v", s.Attributes)
	}
}
