package otelguard

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/jobguard/jobguard/guard"
)

// How many names there are, and error types under each; of both, the last is
// "_OTHER". No metric has more than 150 times (4 other outcomes + 9) = 1950 series,
// as the SDK keeps 1999 apart.
const (
	maxGroups     = 150
	maxErrorTypes = 9
)

// labels are one attribute set, ready for both kinds of call: made once, so that
// a run makes none.
type labels struct {
	add     []metric.AddOption
	record  []metric.RecordOption
	observe []metric.ObserveOption
}

func newLabels(kvs ...attribute.KeyValue) *labels {
	set := metric.WithAttributeSet(attribute.NewSet(kvs...))
	return &labels{
		add: []metric.AddOption{set}, record: []metric.RecordOption{set}, observe: []metric.ObserveOption{set},
	}
}

// group holds what is recorded under one guard.Name.
type group struct {
	acquire, run string             // names of spans
	name         attribute.KeyValue // what every span and metric carries

	plain               *labels // nothing but the name
	renewed, notRenewed *labels
	outcomes            map[string]*labels      // by word, but failed
	failed              *table[string, *labels] // by error type
	lost                *table[string, *labels] // by guard.Event's Reason

	runs, waiters atomic.Int64 // under way now: read when metrics are collected
}

// reasons are why leases are lost.
var reasons = [...]string{string(guard.LostExpired), string(guard.LostNotOwner), string(guard.LostMaxHold)}

// unnamed is the name of a guard without guard.Name: Prometheus drops an empty label.
const unnamed = "unnamed"

// labelOf is what is recorded of a name.
func labelOf(name string) string {
	if name == "" {
		return unnamed
	}
	return short(name)
}

// newGroup makes the group and adds 0 to its counters: a backend sees no increase in
// a counter whose first value is 1.
func newGroup(asked string, i *instruments) *group {
	name := labelOf(asked)
	kv := nameKey.String(name)
	g := &group{
		acquire: "acquire " + name, run: "run " + name, name: kv,
		plain:      newLabels(kv),
		renewed:    newLabels(kv, resultKey.String("ok")),
		notRenewed: newLabels(kv, resultKey.String("failed")),
		outcomes:   make(map[string]*labels),
		failed: newTable(maxErrorTypes, otherError, func(errorType string) *labels {
			return newLabels(kv, outcomeKey.String(failed), errorTypeKey.String(errorType))
		}),
		lost: newTable(len(reasons)+1, otherError, func(reason string) *labels { return newLabels(kv, reasonKey.String(reason)) }),
	}
	for _, word := range []string{acquired, busy, timeout, canceled, ok} {
		g.outcomes[word] = newLabels(kv, outcomeKey.String(word))
	}
	for _, word := range []string{lost, maxHold, panicked} {
		g.outcomes[word] = newLabels(kv, outcomeKey.String(word), errorTypeKey.String(word))
	}
	ctx := context.Background()
	for _, reason := range reasons {
		i.lost.Add(ctx, 0, g.lost.of(reason).add...)
	}
	i.renewals.Add(ctx, 0, g.renewed.add...)
	i.renewals.Add(ctx, 0, g.notRenewed.add...)
	i.releaseFailures.Add(ctx, 0, g.plain.add...)
	i.contended.Add(ctx, 0, g.plain.add...)
	i.failures.Add(ctx, 0, g.plain.add...)
	i.keyErrors.Add(ctx, 0, g.plain.add...)
	return g
}

// labelsOf returns the attribute set of an outcome.
func (g *group) labelsOf(o outcome) *labels {
	if o.word == failed {
		return g.failed.of(o.errorType)
	}
	return g.outcomes[o.word]
}

// observe reports what is under way when metrics are collected. Counting it in the
// meter would be most of the cost of metrics in an uncontended run.
func (o *Observer) observe(_ context.Context, to metric.Observer) error {
	for _, g := range o.groups.all() {
		to.ObserveInt64(o.instruments.runs, g.runs.Load(), g.plain.observe...)
		to.ObserveInt64(o.instruments.waiters, g.waiters.Load(), g.plain.observe...)
	}
	return nil
}
