package otelguard

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/jobguard/jobguard/guard"
)

// acquiring is the context and the state of one acquire.
type acquiring struct {
	context.Context // with the span

	observer *Observer
	group    *group
	span     trace.Span
	tried    bool // once, without waiting
	ended    atomic.Bool
}

// acquireKey finds the acquiring of one Observer: others may wrap it.
type acquireKey struct{ *Observer }

func (a *acquiring) Value(key any) any {
	if k, is := key.(acquireKey); is && k.Observer == a.observer {
		return a
	}
	return a.Context.Value(key)
}

// AcquireStart implements guard.Observer.
func (o *Observer) AcquireStart(ctx context.Context, s guard.AcquireStart) context.Context {
	a := &acquiring{observer: o, group: o.groups.of(s.Name), tried: s.Wait == 0}
	a.Context, a.span = o.start(ctx, a.group.acquire)
	a.group.waiters.Add(1)
	return a
}

// AcquireEnd implements guard.Observer.
func (o *Observer) AcquireEnd(ctx context.Context, e guard.AcquireEnd) {
	a := o.acquiring(ctx)
	if a == nil {
		return
	}
	defer a.span.End()
	a.group.waiters.Add(-1)
	out := acquireOutcome(ctx, e.Err, a.tried)
	// With a's context, so that an exemplar leads to the span.
	m := &o.instruments
	m.acquireDuration.Record(a, e.Waited.Seconds(), a.group.labelsOf(out).record...)
	if e.Contended {
		m.contended.Add(a, 1, a.group.plain.add...)
	}
	if out.word == failed {
		m.failures.Add(a, 1, a.group.plain.add...)
	}
	if a.span.IsRecording() {
		o.describeAcquire(a, e, out)
	}
}

// acquiring returns the innermost acquiring of ctx that has not ended. A guard that
// was given the Observer twice has two.
func (o *Observer) acquiring(ctx context.Context) *acquiring {
	a, is := ctx.Value(acquireKey{o}).(*acquiring)
	if !is || !a.ended.Swap(true) {
		return a
	}
	return o.acquiring(a.Context)
}

func (o *Observer) describeAcquire(a *acquiring, e guard.AcquireEnd, out outcome) {
	if holder := spanContext(e.HolderMetadata); holder.IsValid() {
		a.span.AddLink(trace.Link{SpanContext: holder})
	}
	list := attributes()
	defer list.done()
	list.add(
		a.group.name,
		outcomeKey.String(out.word),
		attemptsKey.Int(e.Attempts),
		waitedKey.Float64(e.Waited.Seconds()))
	if e.Contended {
		list.add(contendedKey.Bool(true))
	}
	if out.errorType != "" {
		list.add(errorTypeKey.String(out.errorType))
		a.span.SetStatus(codes.Error, "the key could not be acquired")
	}
	a.span.SetAttributes(o.appendKey(list.kvs, e.Key)...)
}
