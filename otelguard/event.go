package otelguard

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/jobguard/jobguard/guard"
)

// late is the share of the TTL below which a renewal came late: with Margin at its
// default more than three quarters of the lease had passed. A renewal at its usual
// time leaves more, even under the greatest Margin.
const late = 1. / 8

// early is the part of the TTL before which no renewal of a run can be late: they go
// out every TTL/3 less a tenth. A run that began on a wake-up renews within 10 ms,
// when little is left of its reservation; that renewal is not recorded.
const early = 4

// Event implements guard.Observer.
func (o *Observer) Event(ctx context.Context, e guard.Event) {
	r, is := ctx.Value(runKey{o}).(*running)
	if !is {
		return
	}
	m, g := &o.instruments, r.group
	ctx = r.recorded()
	switch e.Kind {
	case guard.EventRenewed:
		m.renewals.Add(ctx, 1, g.renewed.add...)
		o.renewed(ctx, r, e)
		if r.term != nil {
			o.goOn(r)
		}
	case guard.EventRenewFailed:
		m.renewals.Add(ctx, 1, g.notRenewed.add...)
	case guard.EventLost:
		m.lost.Add(ctx, 1, g.lost.of(string(e.Reason)).add...)
		o.emit(ctx, r, e, log.SeverityError, "jobguard.lease.lost", "lease lost", reasonKey.String(string(e.Reason)))
	case guard.EventReleaseFailed:
		m.releaseFailures.Add(ctx, 1, g.plain.add...)
		o.emit(ctx, r, e, log.SeverityWarn, "jobguard.release.failed", "lease not released", errorTypeKey.String(errorType(e.Err)))
	}
}

// KeyError counts an attempt of a task of that type which had no valid key. It is for
// asynqmw.OnKeyError: asynqmw.New(g, key, asynqmw.OnKeyError(obs.KeyError)).
func (o *Observer) KeyError(ctx context.Context, taskType string) {
	o.instruments.keyErrors.Add(ctx, 1, o.groups.of(taskType).plain.add...)
}

// renewed records how much trust a renewal left. A lost lease is renewed until the
// function has returned, to keep others out: it has no trust left and is not late.
func (o *Observer) renewed(ctx context.Context, r *running, e guard.Event) {
	share := e.Left.Seconds() / e.TTL.Seconds()
	if share <= 0 || share < 1./2 && time.Since(r.began) < e.TTL/early {
		return
	}
	o.instruments.trustLeft.Record(ctx, share, r.group.plain.record...)
	if share < late {
		o.emit(ctx, r, e, log.SeverityWarn, "jobguard.renewal.late", "lease renewed late", leftKey.Float64(share))
	}
}

// emit logs e within the run's span, also when the run's context has ended. The text
// of the store's error could contain a key and is left out.
func (o *Observer) emit(ctx context.Context, r *running, e guard.Event, severity log.Severity, name, text string, more kv) {
	ctx = context.WithoutCancel(ctx)
	if !o.logger.Enabled(ctx, log.EnabledParameters{Severity: severity, EventName: name}) {
		return
	}
	var rec log.Record
	rec.SetTimestamp(time.Now())
	rec.SetEventName(name)
	rec.SetSeverity(severity)
	rec.SetSeverityText(severity.String())
	rec.SetBody(attribute.StringValue(text))
	rec.AddAttributes(r.group.name, ttlKey.Float64(e.TTL.Seconds()), fenceKey.Int64(e.Fence), more)
	rec.AddAttributes(o.appendKey(nil, e.Key)...)
	o.logger.Emit(ctx, rec)
}
