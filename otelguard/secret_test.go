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

// What HTTP callers are told has a test of its own: isProblem in guard/httpmw.
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
		_ = g.Do(t.Context(), key, func(context.Context) error { store.Fail(withKey); time.Sleep(5 * time.Second); return nil })
		_ = g.Do(t.Context(), key, nothing)
		store.Fail(nil)
		if err := g.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}

		var told strings.Builder
		for _, s := range tel.spans.GetSpans() {
			fmt.Fprintln(&told, s.Name, s.Status, s.Events)
			for _, a := range s.Attributes {
				fmt.Fprintln(&told, a.Key, a.Value.String())
			}
		}
		for _, m := range tel.metrics(t) {
			fmt.Fprintf(&told, "%+v\n", m)
		}
		for i := range tel.logs.all {
			r := &tel.logs.all[i]
			fmt.Fprintln(&told, r.Body().String(), r.EventName())
			r.WalkAttributes(func(a kv) bool { fmt.Fprintln(&told, a.Key, a.Value.String()); return true })
		}
		for _, secret := range []string{key, owner} {
			if strings.Contains(told.String(), secret) {
				t.Errorf("%q is in\n%s", secret, told.String())
			}
		}
		for _, must := range []string{"lease lost", "lease not released", "unavailable", "timeout"} {
			if !strings.Contains(told.String(), must) {
				t.Errorf("%q did not happen: the test proves little", must)
			}
		}
	})
}
