package otelguard

import (
	"context"
	"encoding/hex"

	"go.opentelemetry.io/otel/trace"
)

// The metadata of a lease is a W3C traceparent: 00-<trace id>-<span id>-<flags>.
const (
	parentLen = 55
	traceAt   = 3
	spanAt    = 36
	flagsAt   = 53
)

// Metadata implements guard.MetadataSource. It is the context of the acquire span, to
// which waiters link: that span is in the same trace as the run, whose own span does
// not exist yet.
func (*Observer) Metadata(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return ""
	}
	var b [parentLen]byte
	id, span := sc.TraceID(), sc.SpanID()
	copy(b[:], "00-")
	hex.Encode(b[traceAt:], id[:])
	b[spanAt-1] = '-'
	hex.Encode(b[spanAt:], span[:])
	b[flagsAt-1] = '-'
	hex.Encode(b[flagsAt:], []byte{byte(sc.TraceFlags())})
	return string(b[:])
}

// spanContext reads what Metadata wrote. It is not valid if text is from another
// program or another observer.
func spanContext(text string) (none trace.SpanContext) {
	if len(text) != parentLen || text[:traceAt] != "00-" || text[spanAt-1] != '-' || text[flagsAt-1] != '-' {
		return none
	}
	id, err := trace.TraceIDFromHex(text[traceAt : spanAt-1])
	if err != nil {
		return none
	}
	span, err := trace.SpanIDFromHex(text[spanAt : flagsAt-1])
	if err != nil {
		return none
	}
	var flags [1]byte
	if _, err := hex.Decode(flags[:], []byte(text[flagsAt:])); err != nil {
		return none
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: trace.TraceFlags(flags[0])})
}
