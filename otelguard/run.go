package otelguard

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/jobguard/jobguard/guard"
)

// running is the context and the state of one run.
type running struct {
	context.Context // fn's: with the span, in a term with none

	observer *Observer
	group    *group
	span     trace.Span // nil in a term
	term     *term      // nil but under guard.Lead
	ttl      time.Duration
	began    time.Time
	keys     []string
	tokens   []int64
	ended    atomic.Bool
}

// runKey finds the running of one Observer: others may wrap it.
type runKey struct{ *Observer }

func (r *running) Value(key any) any {
	switch k := key.(type) {
	case runKey:
		if k.Observer == r.observer {
			return r
		}
	case termKey:
		if r.term != nil {
			return r.term
		}
	}
	return r.Context.Value(key)
}

// recorded returns the context of what is recorded of r: with its span.
func (r *running) recorded() context.Context {
	if r.term == nil {
		return r
	}
	return trace.ContextWithSpan(r.Context, r.term.now())
}

// RunStart implements guard.Observer. The run's span is a child of the caller's, or
// of the acquire span if the caller has none, as in a cron job. A term of guard.Lead
// is told in pieces, and what it does begins new traces.
func (o *Observer) RunStart(ctx context.Context, s guard.RunStart) context.Context {
	r := &running{observer: o, group: o.groups.of(s.Name), ttl: s.TTL, began: time.Now(), keys: s.Keys, tokens: s.Tokens}
	parent, links := ctx, []trace.SpanStartOption(nil)
	if len(s.Metadata) > 0 && !trace.SpanContextFromContext(ctx).IsValid() {
		parent, links = begun(ctx, s.Metadata)
	}
	r.Context, r.span = o.start(parent, r.group.run, links...)
	if s.Op == "lead" {
		r.Context = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
		r.term, r.span = &term{context: r.Context, span: r.span, began: r.began, number: 1}, nil
	}
	r.group.runs.Add(1)
	return r
}

// begun returns ctx with the first of the traces in metadata, and links to the
// others, which led to the same run.
func begun(ctx context.Context, metadata []string) (context.Context, []trace.SpanStartOption) {
	var first trace.SpanContext
	var links []trace.Link
	for _, text := range metadata {
		sc := spanContext(text)
		switch {
		case !sc.IsValid():
		case !first.IsValid():
			first = sc
		case sc.TraceID() != first.TraceID():
			links = append(links, trace.Link{SpanContext: sc})
		}
	}
	if !first.IsValid() {
		return ctx, nil
	}
	ctx = trace.ContextWithSpanContext(ctx, first)
	if links == nil {
		return ctx, nil
	}
	return ctx, []trace.SpanStartOption{trace.WithLinks(links...)}
}

// RunEnd implements guard.Observer.
func (o *Observer) RunEnd(ctx context.Context, e guard.RunEnd) {
	r := o.running(ctx, e.Keys)
	if r == nil {
		return
	}
	ctx, span := r.recorded(), r.span
	if r.term != nil {
		span, e.Renewals = r.term.end(e.Renewals)
	}
	defer span.End()
	r.group.runs.Add(-1)
	out := runOutcome(e)
	m := &o.instruments
	m.runDuration.Record(ctx, e.Held.Seconds(), r.group.labelsOf(out).record...)
	m.ttlRatio.Record(ctx, e.Held.Seconds()/r.ttl.Seconds(), r.group.plain.record...)
	if span.IsRecording() {
		o.describeRun(span, r, e, out)
	}
}

// running returns the innermost running of ctx that has these keys and has not ended.
// A guard that was given the Observer twice has two of them, and a run whose start
// panicked must not end the outer run.
func (o *Observer) running(ctx context.Context, keys []string) *running {
	r, is := ctx.Value(runKey{o}).(*running)
	if !is || slices.Equal(r.keys, keys) && !r.ended.Swap(true) {
		return r
	}
	return o.running(r.Context, keys)
}

func (o *Observer) describeRun(span trace.Span, r *running, e guard.RunEnd, out outcome) {
	list := attributes()
	defer list.done()
	list.add(
		r.group.name,
		ttlKey.Float64(r.ttl.Seconds()),
		outcomeKey.String(out.word),
		renewalsKey.Int(e.Renewals),
		releaseKey.String(string(e.Release)))
	if r.term != nil {
		list.add(pieceKey.Int(r.term.number))
	}
	if len(r.tokens) == 1 {
		list.add(fenceKey.Int64(r.tokens[0]))
	} else {
		list.add(tokensKey.Int64Slice(r.tokens))
	}
	if out.errorType != "" {
		list.add(errorTypeKey.String(out.errorType))
		why := out.word
		if why == failed && e.Lost != "" { // told to stop
			why = string(e.Lost)
		}
		span.SetStatus(codes.Error, statusOf[why])
	}
	span.SetAttributes(o.appendKey(list.kvs, e.Keys...)...)
}

// statusOf has the descriptions of outcomes. The text of an error could contain a key.
var statusOf = map[string]string{
	failed:   "the function returned an error",
	lost:     "the lease was lost",
	maxHold:  "held longer than MaxHold",
	panicked: "the function panicked or exited",

	string(guard.LostRevoked):  "an operator told the run to stop",
	string(guard.LostReplaced): "a newcomer told the run to stop",
}
