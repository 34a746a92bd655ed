package otelguard

import (
	"context"
	"encoding/hex"

	"go.opentelemetry.io/otel/trace"
)

// What rides with a lease is a W3C traceparent: 00-<trace id>-<span id>-<flags>.
const (
	parentLen = 55
	traceAt   = 3
	spanAt    = 36
	flagsAt   = 53
)

// Carrier implements guard.MetadataSource: the lease carries the context of the acquire
// span, so that whoever meets the lease can link to it. It is the span that stands
// in the same trace as the run; the run's own does not exist yet.
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

// spanContext reads what Carrier wrote. It is not valid if text is something
// else: another program's, or another observer's.
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
