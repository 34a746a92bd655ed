package otelguard

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/jobguard/jobguard/guard"
)

// running is the context of one run, and what is remembered of it.
type running struct {
	context.Context // with the span

	observer *Observer
	group    *group
	span     trace.Span
	ttl      time.Duration
	began    time.Time
	fences   []int64

	// Events come on other goroutines.
	lost       atomic.Pointer[string] // why; the first counts
	unreleased atomic.Bool
}

// runKey finds the running of one Observer: others may wrap it.
type runKey struct{ *Observer }

func (r *running) Value(key any) any {
	if k, is := key.(runKey); is && k.Observer == r.observer {
		return r
	}
	return r.Context.Value(key)
}

// RunStart implements guard.Observer. The run's span is a child of the caller's.
// Where there is none, as in a cron job, the acquire span began the trace, and the
// run's is a child of that.
func (o *Observer) RunStart(ctx context.Context, s guard.RunStart) context.Context {
	r := &running{observer: o, group: o.groups.of(s.Name, &o.instruments), ttl: s.TTL, began: time.Now(), fences: s.Fences}
	parent, links := ctx, []trace.SpanStartOption(nil)
	if len(s.Carriers) > 0 && !trace.SpanContextFromContext(ctx).IsValid() {
		parent, links = begun(ctx, s.Carriers)
	}
	r.Context, r.span = o.tracer.Start(parent, r.group.run, links...)
	r.group.runs.Add(1)
	return r
}

// begun returns ctx with the first of the traces that carriers name, and links
// to the others, which led to the same run.
func begun(ctx context.Context, carriers []string) (context.Context, []trace.SpanStartOption) {
	var first trace.SpanContext
	var links []trace.Link
	for _, text := range carriers {
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
	r, is := ctx.Value(runKey{o}).(*running)
	if !is {
		return
	}
	var reason string
	if why := r.lost.Load(); why != nil {
		reason = *why
	}
	out := runOutcome(e, reason)
	m := &o.instruments
	r.group.runs.Add(-1)
	m.runDuration.Record(r, e.Held.Seconds(), r.group.labelsOf(out).record...)
	m.ttlRatio.Record(r, e.Held.Seconds()/r.ttl.Seconds(), r.group.plain.record...)
	if r.span.IsRecording() {
		o.describeRun(r, e, out)
	}
	r.span.End()
}

func (o *Observer) describeRun(r *running, e guard.RunEnd, out outcome) {
	list := attributes()
	defer list.done()
	list.add(
		r.group.name,
		ttlKey.Float64(r.ttl.Seconds()),
		outcomeKey.String(out.word),
		renewalsKey.Int(e.Renewals),
		releaseKey.String(r.released()))
	if len(r.fences) == 1 {
		list.add(fenceKey.Int64(r.fences[0]))
	} else {
		list.add(fencesKey.Int64Slice(r.fences))
	}
	if out.errorType != "" {
		list.add(errorTypeKey.String(out.errorType))
		r.span.SetStatus(codes.Error, statusOf[out.word])
	}
	r.span.SetAttributes(o.appendKey(list.kvs, e.Keys...)...)
}

// released says what came of the release.
func (r *running) released() string {
	switch {
	case r.lost.Load() != nil:
		return "lost" // somebody else may have had the key already
	case r.unreleased.Load():
		return "failed"
	}
	return "released"
}

// statusOf describes outcomes to people. An error's own text could name a key.
var statusOf = map[string]string{
	failed:   "the function returned an error",
	lost:     "the lease was lost",
	maxHold:  "held longer than MaxHold",
	panicked: "the function panicked or exited",
}

// appendKey adds what the user wants to be told of keys.
func (o *Observer) appendKey(kvs []kv, keys ...string) []kv {
	if o.key == nil {
		return kvs
	}
	var told []string
	for _, key := range keys {
		if text := o.key(key); text != "" {
			told = append(told, text)
		}
	}
	switch {
	case len(told) == 0:
		return kvs
	case len(keys) == 1:
		return append(kvs, keyKey.String(told[0]))
	}
	return append(kvs, keysKey.StringSlice(told))
}
