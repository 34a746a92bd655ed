package otelguard_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// Whatever keeps a caller waiting, and whether it is in the same process or in
// another: the link leads there, and only exclusive runs have a fence.
func TestLinkAndFenceInEveryMode(t *testing.T) {
	exclusive, work := []guard.Option(nil), time.Second
	for name, c := range map[string]struct {
		holds, waits []guard.Option
		work         time.Duration
		fence        bool // the waiter has one
	}{
		"exclusive":                       {exclusive, exclusive, work, true},
		"limit":                           {[]guard.Option{guard.Limit(1)}, []guard.Option{guard.Limit(1)}, work, false},
		"writer waits":                    {[]guard.Option{guard.Shared()}, exclusive, work, true},
		"reader waits":                    {exclusive, []guard.Option{guard.Shared()}, work, false},
		"kept shut by a run that is over": {[]guard.Option{guard.MinHold(time.Second)}, exclusive, 0, true},
	} {
		for where, processes := range map[string]int{"one process": 1, "two processes": 2} {
			t.Run(name+", "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tel := newTelemetry()
					store := guardtest.NewStore()
					g := newGuard(t, store, guard.Observe(tel))
					other := g
					if processes == 2 {
						other = newGuard(t, store, guard.Observe(tel))
					}
					done := make(chan error, 1)
					go func() {
						done <- g.With(append(c.holds, guard.Name("holder"))...).
							Do(t.Context(), "k", func(context.Context) error { time.Sleep(c.work); return nil })
					}()
					synctest.Wait()
					err := other.With(append(c.waits, guard.Name("waiter"))...).Do(t.Context(), "k", nothing)
					if err != nil {
						t.Error(err)
					}
					if err := <-done; err != nil {
						t.Error(err)
					}
					waited, held := tel.span(t, "acquire waiter"), tel.span(t, "acquire holder")
					if len(waited.Links) != 1 || waited.Links[0].SpanContext.SpanID() != held.SpanContext.SpanID() {
						t.Errorf("links %+v, want one to %v", waited.Links, held.SpanContext)
					}
					fence := attr(tel.span(t, "run waiter"), "jobguard.fence")
					if (fence.AsInt64() != 0) != c.fence || fence.Type().String() != "INT64" {
						t.Errorf("fence %v", fence.String())
					}
				})
			})
		}
	}
}
