package otelguard_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// The caller's deadline, or its outer run's loss, says nothing about the store.
func TestCauseOfTheCallersEndDoesNotHideWhatFailed(t *testing.T) {
	for _, c := range []struct {
		kind, cause        error
		outcome, errorType string
	}{
		{guard.ErrUnavailable, guard.ErrLost, "error", "unavailable"},
		{guard.ErrUnavailable, context.DeadlineExceeded, "error", "unavailable"},
		{guard.ErrClosed, context.Canceled, "error", "closed"},
		{guard.ErrBusy, context.Canceled, "canceled", ""},
		{context.Canceled, guard.ErrLost, "canceled", ""},
	} {
		tel := newTelemetry()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		ctx := tel.AcquireStart(ended, guard.AcquireStart{Name: "orders"})
		tel.AcquireEnd(ctx, guard.AcquireEnd{Err: &guard.Error{Kind: c.kind, Err: c.cause}})
		s := tel.span(t, "acquire orders")
		if got := attr(s, "jobguard.outcome").AsString(); got != c.outcome {
			t.Errorf("%v, %v: outcome %q, want %q", c.kind, c.cause, got, c.outcome)
		}
		if got := attr(s, "error.type").AsString(); got != c.errorType {
			t.Errorf("%v, %v: error.type %q, want %q", c.kind, c.cause, got, c.errorType)
		}
	}
}

func TestErrorOfANestedGuardIsTheRunsErrorType(t *testing.T) {
	tel := newTelemetry()
	g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("orders"))
	err := g.Do(t.Context(), "k", func(ctx context.Context) error { return g.Do(ctx, "", nothing) })
	if !errors.Is(err, guard.ErrInvalidKey) {
		t.Fatal(err)
	}
	if got := attr(tel.span(t, "run orders"), "error.type").AsString(); got != "invalid_key" {
		t.Errorf("error.type %q", got)
	}
}

func TestWhatIsRefusedWithoutAskingIsNotRecorded(t *testing.T) {
	tel := newTelemetry()
	g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("refused"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	lax := g.With(guard.Limit(2), guard.Name("lax"))
	for want, err := range map[error]error{
		guard.ErrInvalidKey: g.Do(t.Context(), "", nothing),
		context.Canceled:    g.Do(ended, "k", nothing),
		guard.ErrBusy:       lax.Do(t.Context(), "k", func(ctx context.Context) error { return g.Do(ctx, "k", nothing) }),
	} {
		if !errors.Is(err, want) {
			t.Errorf("Do() = %v, want %v", err, want)
		}
	}
	if len(tel.all("run lax")) != 1 {
		t.Error("the outer run was not recorded")
	}
	if n := len(tel.all("acquire refused")); n != 0 {
		t.Errorf("%d spans", n)
	}
	if _, there := tel.sum(t, "jobguard.acquire.failures", named("refused")); there {
		t.Error("the name has metrics")
	}
}
