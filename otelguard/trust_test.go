package otelguard_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// The guard renews a lost lease on while its function runs: one loss must not look
// like many late renewals.
func TestRenewalsAfterALossAreNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.Observe(tel), guard.Name("orders"))
		_ = g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Fail(errors.New("down"))
			<-ctx.Done()
			store.Fail(nil)
			time.Sleep(time.Minute)
			return nil
		})
		if n := len(tel.logs.of("jobguard.lease.lost")); n != 1 {
			t.Errorf("%d losses logged", n)
		}
		if late := tel.logs.of("jobguard.renewal.late"); len(late) != 0 {
			t.Errorf("%d late renewals logged", len(late))
		}
		if p := tel.histogram(t, "jobguard.renewal.trust_left", named("orders")); p.Count != 0 {
			t.Errorf("%d renewals with %v of the TTL left", p.Count, p.Sum)
		}
		counted, _ := tel.sum(t, "jobguard.renewals", named("orders"), str("jobguard.result", "ok"))
		if onSpan := attr(tel.span(t, "run orders"), "jobguard.renewals").AsInt64(); counted == 0 || counted != onSpan {
			t.Errorf("%d renewals counted, %d on the span", counted, onSpan)
		}
	})
}

// The loss of one lease of a run says nothing about the other.
func TestLossOfOneKeyDoesNotHideTheOthersRenewals(t *testing.T) {
	tel := newTelemetry()
	ctx := tel.RunStart(t.Context(), guard.RunStart{Name: "orders", Keys: []string{"a", "b"}, TTL: time.Second})
	tel.Event(ctx, guard.Event{Kind: guard.EventLost, Key: "a", TTL: time.Second, Reason: guard.LostNotOwner})
	tel.Event(ctx, guard.Event{Kind: guard.EventRenewed, Key: "b", TTL: time.Second, Left: time.Second / 2})
	if p := tel.histogram(t, "jobguard.renewal.trust_left", named("orders")); p.Count != 1 || p.Sum != .5 {
		t.Errorf("%d renewals with %v of the TTL left", p.Count, p.Sum)
	}
}

func TestEachFailedRenewalIsCountedOnce(t *testing.T) {
	tel := newTelemetry()
	ctx := tel.RunStart(t.Context(), guard.RunStart{Name: "orders", TTL: time.Second})
	for range 3 {
		tel.Event(ctx, guard.Event{Kind: guard.EventRenewFailed, TTL: time.Second})
	}
	if n, _ := tel.sum(t, "jobguard.renewals", named("orders"), str("jobguard.result", "failed")); n != 3 {
		t.Errorf("%d failed renewals of 3", n)
	}
}
