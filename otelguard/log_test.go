package otelguard_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestLossesAndLateRenewalsAreLoggedInTheRunsSpan(t *testing.T) {
	down := errors.New("connection refused")
	for event, c := range map[string]struct {
		severity log.Severity
		release  string // as the run's span has it
		fn       func(*guardtest.Store, context.Context)
	}{
		"jobguard.lease.lost": {log.SeverityError, "lost", func(s *guardtest.Store, ctx context.Context) {
			s.Hold("k", "thief")
			<-ctx.Done()
		}},
		"jobguard.renewal.late": {log.SeverityWarn, "released", func(s *guardtest.Store, _ context.Context) {
			s.Fail(down)
			time.Sleep(7900 * time.Millisecond)
			s.Fail(nil)
			time.Sleep(time.Second)
		}},
		"jobguard.release.failed": {log.SeverityWarn, "failed", func(s *guardtest.Store, _ context.Context) { s.Fail(down) }},
	} {
		t.Run(event, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tel := newTelemetry()
				store := guardtest.NewStore()
				g := newGuard(t, store, guard.Observe(tel), guard.Name("orders"))
				_ = g.Do(t.Context(), "k", func(ctx context.Context) error { c.fn(store, ctx); return nil })
				store.Fail(nil)
				if err := g.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				all := tel.logs.of(event)
				if len(all) != 1 {
					t.Fatalf("%d events, want one", len(all))
				}
				run := tel.span(t, "run orders")
				if all[0].Severity() != c.severity || all[0].SpanID() != run.SpanContext.SpanID() {
					t.Errorf("severity %v in span %v, want %v in %v", all[0].Severity(), all[0].SpanID(), c.severity, run.SpanContext.SpanID())
				}
				if got := logAttr(&all[0], "jobguard.fence"); got == "" || got != attr(run, "jobguard.fence").String() {
					t.Errorf("fence %q, the run's is %q", got, attr(run, "jobguard.fence").String())
				}
				if got := attr(run, "jobguard.release").AsString(); got != c.release {
					t.Errorf("release %q, want %q", got, c.release)
				}
			})
		})
	}
}

func TestLogEventsSayWhenAndWhat(t *testing.T) {
	const ttl = 20 * time.Second
	for event, c := range map[string]struct {
		e     guard.Event
		key   attribute.Key // that only this event has
		value string
	}{
		"jobguard.lease.lost":     {guard.Event{Kind: guard.EventLost, Reason: guard.LostNotOwner}, "jobguard.reason", "not_owner"},
		"jobguard.renewal.late":   {guard.Event{Kind: guard.EventRenewed, Left: ttl / 10}, "jobguard.trust_left", "0.1"},
		"jobguard.release.failed": {guard.Event{Kind: guard.EventReleaseFailed, Err: typed("reset")}, "error.type", "reset"},
	} {
		synctest.Test(t, func(t *testing.T) {
			tel := newTelemetry()
			caller, gone := context.WithCancel(t.Context())
			ctx := tel.RunStart(caller, guard.RunStart{Name: "orders", TTL: ttl})
			time.Sleep(ttl)
			gone() // which is no reason for an exporter to give up
			c.e.TTL, c.e.Fence = ttl, 42
			tel.Event(ctx, c.e)
			all := tel.logs.of(event)
			if len(all) != 1 || tel.logs.late != 0 {
				t.Fatalf("%s: %d events, %d under a context that had ended", event, len(all), tel.logs.late)
			}
			if at := all[0].Timestamp(); !at.Equal(time.Now()) {
				t.Errorf("%s: at %v, want %v", event, at, time.Now())
			}
			for key, want := range map[attribute.Key]string{
				"jobguard.name": "orders", "jobguard.ttl": "20", "jobguard.fence": "42", c.key: c.value,
			} {
				if got := logAttr(&all[0], key); got != want {
					t.Errorf("%s: %s is %q, want %q", event, key, got, want)
				}
			}
		})
	}
}

func TestRenewalInTimeIsNotLogged(t *testing.T) {
	for _, margin := range []time.Duration{0, time.Second, 4990 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			tel := newTelemetry()
			g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Margin(margin))
			if err := g.Do(t.Context(), "k", func(context.Context) error { time.Sleep(time.Minute); return nil }); err != nil {
				t.Error(err)
			}
			if n := len(tel.logs.all); n != 0 {
				t.Errorf("Margin %v: %d log events", margin, n)
			}
		})
	}
}
