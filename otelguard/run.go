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
	context.Context // with the span

	observer *Observer
	group    *group
	span     trace.Span
	ttl      time.Duration
	began    time.Time
	keys     []string
	tokens   []int64
	ended    atomic.Bool
}

// runKey finds the running of one Observer: others may wrap it.
type runKey struct{ *Observer }

func (r *running) Value(key any) any {
	if k, is := key.(runKey); is && k.Observer == r.observer {
		return r
	}
	return r.Context.Value(key)
}

// RunStart implements guard.Observer. The run's span is a child of the caller's, or
// of the acquire span if the caller has none, as in a cron job.
func (o *Observer) RunStart(ctx context.Context, s guard.RunStart) context.Context {
	r := &running{observer: o, group: o.groups.of(s.Name), ttl: s.TTL, began: time.Now(), keys: s.Keys, tokens: s.Tokens}
	parent, links := ctx, []trace.SpanStartOption(nil)
	if len(s.Metadata) > 0 && !trace.SpanContextFromContext(ctx).IsValid() {
		parent, links = begun(ctx, s.Metadata)
	}
	r.Context, r.span = o.tracer.Start(parent, r.group.run, links...)
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
	defer r.span.End()
	r.group.runs.Add(-1)
	out := runOutcome(e)
	m := &o.instruments
	m.runDuration.Record(r, e.Held.Seconds(), r.group.labelsOf(out).record...)
	m.ttlRatio.Record(r, e.Held.Seconds()/r.ttl.Seconds(), r.group.plain.record...)
	if r.span.IsRecording() {
		o.describeRun(r, e, out)
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

func (o *Observer) describeRun(r *running, e guard.RunEnd, out outcome) {
	list := attributes()
	defer list.done()
	list.add(
		r.group.name,
		ttlKey.Float64(r.ttl.Seconds()),
		outcomeKey.String(out.word),
		renewalsKey.Int(e.Renewals),
		releaseKey.String(string(e.Release)))
	if len(r.tokens) == 1 {
		list.add(fenceKey.Int64(r.tokens[0]))
	} else {
		list.add(tokensKey.Int64Slice(r.tokens))
	}
	if out.errorType != "" {
		list.add(errorTypeKey.String(out.errorType))
		r.span.SetStatus(codes.Error, statusOf[out.word])
	}
	r.span.SetAttributes(o.appendKey(list.kvs, e.Keys...)...)
}

// statusOf has the descriptions of outcomes. The text of an error could contain a key.
var statusOf = map[string]string{
	failed:   "the function returned an error",
	lost:     "the lease was lost",
	maxHold:  "held longer than MaxHold",
	panicked: "the function panicked or exited",
}
