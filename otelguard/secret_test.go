package otelguard_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// Replies to HTTP callers have a test of their own: isProblem in guard/httpmw.
func TestNoKeyAndNoOwnerIsInAnySpanMetricOrLogUnlessAskedFor(t *testing.T) {
	const key, owner = "customer-4711", "host-0815"
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.Observe(tel), guard.Name("orders"), guard.Wait(time.Second))
		withKey := fmt.Errorf("cannot serve %s at %s", key, owner)

		_ = g.Do(t.Context(), key, func(context.Context) error { return withKey })
		_ = g.Do(t.Context(), key, func(ctx context.Context) error { // lost, and everything after it refused
			store.Hold(key, "p:1|"+owner+"|")
			<-ctx.Done()
			return g.Do(context.WithoutCancel(ctx), key, nothing)
		})
		store.Expire(key)
		// Not longer: a lease that was granted from the queue may be trusted for a second.
		_ = g.Do(t.Context(), key, func(context.Context) error { store.Fail(withKey); time.Sleep(time.Second / 2); return nil })
		_ = g.Do(t.Context(), key, nothing)
		store.Fail(nil)
		if err := g.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}

		var recorded strings.Builder
		for _, s := range tel.spans.GetSpans() {
			fmt.Fprintln(&recorded, s.Name, s.Status, s.Events)
			for _, a := range s.Attributes {
				fmt.Fprintln(&recorded, a.Key, a.Value.String())
			}
		}
		for _, m := range tel.metrics(t) {
			fmt.Fprintf(&recorded, "%+v\n", m)
		}
		for i := range tel.logs.all {
			r := &tel.logs.all[i]
			fmt.Fprintln(&recorded, r.Body().String(), r.EventName())
			r.WalkAttributes(func(a kv) bool { fmt.Fprintln(&recorded, a.Key, a.Value.String()); return true })
		}
		for _, secret := range []string{key, owner} {
			if strings.Contains(recorded.String(), secret) {
				t.Errorf("%q is in\n%s", secret, recorded.String())
			}
		}
		for _, must := range []string{"lease lost", "lease not released", "unavailable", "timeout"} {
			if !strings.Contains(recorded.String(), must) {
				t.Errorf("%q did not happen: the test proves little", must)
			}
		}
	})
}
