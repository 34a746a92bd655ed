package otelguard

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// piece is the least time that a span of a term lasts. A term may last for weeks: one
// span would be exported at its end, or never, and with all that happens in it be one
// trace, which is sampled or not as a whole.
const piece = 5 * time.Minute

// term is a run under guard.Lead, told in pieces. A renewal ends a piece that is old
// enough and starts the next, so a term has no goroutine.
type term struct {
	context context.Context // without a span: the next piece begins a trace

	mu       sync.Mutex // guards the rest; held while a piece is started, not while one ends
	span     trace.Span // of the piece
	began    time.Time
	number   int // 1 is the first
	renewals int // within this piece
	told     int // within those before
	over     bool
}

type termKey struct{}

// Term returns the span context of the guard.Lead run that ctx is from: of the piece
// of the term that is now. It is not valid outside of one. What a term does begins
// traces of its own, each sampled by itself; to link one to the term by hand:
//
//	ctx, span := tracer.Start(ctx, "round", trace.WithLinks(trace.Link{SpanContext: otelguard.Term(ctx)}))
//
// Guarded runs inside a term have the link; package termlinks gives it to all spans.
func Term(ctx context.Context) trace.SpanContext {
	t, is := ctx.Value(termKey{}).(*term)
	if !is {
		return trace.SpanContext{}
	}
	return t.now().SpanContext()
}

// start starts a span. One that begins a trace in a term has a link to it.
func (o *Observer) start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		if in := Term(ctx); in.IsValid() {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: in}))
		}
	}
	return o.tracer.Start(ctx, name, opts...)
}

func (t *term) now() trace.Span {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.span
}

// end returns the last piece, and how many of all renewals are its own.
func (t *term) end(renewals int) (last trace.Span, own int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	return t.span, renewals - t.told
}

// goOn counts a renewal of r, and starts the next piece of its term when it is time.
func (o *Observer) goOn(r *running) {
	span, number, renewals := o.nextPiece(r)
	if span == nil {
		return
	}
	defer span.End()
	if !span.IsRecording() {
		return
	}
	list := attributes()
	defer list.done()
	list.add(r.group.name, ttlKey.Float64(r.ttl.Seconds()), outcomeKey.String(leading),
		renewalsKey.Int(renewals), pieceKey.Int(number), fenceKey.Int64(r.tokens[0]))
	span.SetAttributes(o.appendKey(list.kvs, r.keys...)...)
}

// nextPiece returns the piece that is over, nil if it goes on.
func (o *Observer) nextPiece(r *running) (done trace.Span, number, renewals int) {
	t := r.term
	t.mu.Lock()
	defer t.mu.Unlock()
	t.renewals++
	if t.over || time.Since(t.began) < piece {
		return nil, 0, 0
	}
	done, number, renewals = t.span, t.number, t.renewals
	_, t.span = o.tracer.Start(t.context, r.group.run, trace.WithNewRoot(),
		trace.WithLinks(trace.Link{SpanContext: done.SpanContext()}))
	t.began, t.number, t.told, t.renewals = time.Now(), number+1, t.told+renewals, 0
	return done, number, renewals
}
