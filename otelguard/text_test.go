package otelguard_test

import (
	"context"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
)

// typed says itself of which type it is.
type typed string

func (typed) Error() string       { return "typed" }
func (e typed) ErrorType() string { return string(e) }

// One label that is not UTF-8 fails the whole of /metrics, and a batch of OTLP.
func TestTextThatIsNotUTF8DoesNotReachExporters(t *testing.T) {
	const bad, clean = "caf\xe9", "caf\uFFFD"
	tel := newTelemetry(otelguard.WithKeyAttribute(func(string) string { return bad }))
	url, obs := scraped(t)
	g := newGuard(t, guardtest.NewStore(), guard.Name(bad), guard.Observe(tel), guard.Observe(obs))
	_ = g.Do(t.Context(), "k", func(context.Context) error { return typed(bad) })

	s := tel.span(t, "run "+clean)
	for _, key := range []attribute.Key{"jobguard.name", "jobguard.key", "error.type"} {
		if got := attr(s, key).AsString(); got != clean {
			t.Errorf("%s is %q", key, got)
		}
	}
	if page := scrape(t, url); !strings.Contains(page, `jobguard_name="`+clean+`"`) || !strings.Contains(page, `error_type="`+clean+`"`) {
		t.Errorf("the page has\n%s", page)
	}
}

func TestLongTextIsCutBetweenRunes(t *testing.T) {
	tel := newTelemetry()
	long := "a" + strings.Repeat("é", 300)
	g := newGuard(t, guardtest.NewStore(), guard.Name(long), guard.Observe(tel))
	_ = g.Do(t.Context(), "k", func(context.Context) error { return typed(long) })
	want := long[:255] // 1 + 127 × 2
	s := tel.span(t, "run "+want)
	if got := attr(s, "error.type").AsString(); got != want {
		t.Errorf("error.type has %d bytes: %q", len(got), got)
	}
	long = long[1:]
	_ = g.With(guard.Name(long)).Do(t.Context(), "k", nothing)
	tel.span(t, "run "+long[:254])
}
