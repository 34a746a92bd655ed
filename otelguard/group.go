package otelguard

import (
	"context"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/jobguard/jobguard/guard"
)

// labels are one attribute set, ready for both kinds of call: made once, so that
// a run makes none.
type labels struct {
	add     []metric.AddOption
	record  []metric.RecordOption
	observe []metric.ObserveOption
}

func newLabels(kvs ...attribute.KeyValue) labels {
	set := metric.WithAttributeSet(attribute.NewSet(kvs...))
	return labels{
		add: []metric.AddOption{set}, record: []metric.RecordOption{set}, observe: []metric.ObserveOption{set},
	}
}

// outcome is how an acquire or a run ended. Its errorType is "" on success.
type outcome struct{ word, errorType string }

// group is all that is told under one guard.Name.
type group struct {
	asked        string             // the name as guards have it
	acquire, run string             // names of spans
	name         attribute.KeyValue // what every span and metric carries

	plain               labels // nothing but the name
	renewed, notRenewed labels
	lost                map[string]labels // by guard.Event's Reason

	acquired, ok labels   // the usual outcomes
	outcomes     sync.Map // outcome -> labels
	known        atomic.Int32

	runs, waiters atomic.Int64 // under way now: read when metrics are collected
}

// maxOutcomes bounds group.outcomes: error types come from the program's text, but
// a method ErrorType may return anything.
const maxOutcomes = 100

// unnamed stands for a guard without a guard.Name: an empty label is none.
const unnamed = "unnamed"

// newGroup makes the group and has its counters begin at 0: one that is first
// seen at 1 has not increased, as far as a backend can tell.
func newGroup(asked string, i *instruments) *group {
	name := asked
	if name == "" {
		name = unnamed
	}
	kv := nameKey.String(name)
	g := &group{
		asked: asked, acquire: "acquire " + name, run: "run " + name, name: kv,
		plain:      newLabels(kv),
		renewed:    newLabels(kv, resultKey.String("ok")),
		notRenewed: newLabels(kv, resultKey.String("failed")),
		lost:       make(map[string]labels),
		acquired:   newLabels(kv, outcomeKey.String(acquired)),
		ok:         newLabels(kv, outcomeKey.String(ok)),
	}
	ctx := context.Background()
	for _, reason := range []string{guard.LostExpired, guard.LostNotOwner, guard.LostMaxHold} {
		l := newLabels(kv, reasonKey.String(reason))
		g.lost[reason] = l
		i.lost.Add(ctx, 0, l.add...)
	}
	i.renewals.Add(ctx, 0, g.renewed.add...)
	i.renewals.Add(ctx, 0, g.notRenewed.add...)
	i.releaseFailures.Add(ctx, 0, g.plain.add...)
	i.contended.Add(ctx, 0, g.plain.add...)
	return g
}

// labelsOf returns the attribute set of an outcome.
func (g *group) labelsOf(o outcome) labels {
	switch o.word {
	case acquired:
		return g.acquired
	case ok:
		return g.ok
	}
	if l, there := g.outcomes.Load(o); there {
		return l.(labels) //nolint:forcetypeassert // nothing else is stored
	}
	if g.known.Load() >= maxOutcomes {
		o.errorType = otherError
	}
	kvs := []attribute.KeyValue{g.name, outcomeKey.String(o.word)}
	if o.errorType != "" {
		kvs = append(kvs, errorTypeKey.String(o.errorType))
	}
	l, there := g.outcomes.LoadOrStore(o, newLabels(kvs...))
	if !there {
		g.known.Add(1)
	}
	return l.(labels) //nolint:forcetypeassert // nothing else is stored
}

// groups remembers the groups by name.
type groups struct {
	byName sync.Map // string -> *group
	known  atomic.Int32
	last   atomic.Pointer[group] // a run asks twice, and mostly for the same as the one before
}

// maxGroups bounds groups. Names ought to be few; ids among them must not fill the
// memory. From then on a name that is new shares the group of all such.
const maxGroups = 1000

func (s *groups) of(name string, i *instruments) *group {
	if g := s.last.Load(); g != nil && g.asked == name {
		return g
	}
	g := s.find(name, i)
	s.last.Store(g)
	return g
}

func (s *groups) find(name string, i *instruments) *group {
	if g, there := s.byName.Load(name); there {
		return g.(*group) //nolint:forcetypeassert // nothing else is stored
	}
	if s.known.Load() >= maxGroups {
		name = otherError
	}
	g, there := s.byName.LoadOrStore(name, newGroup(name, i))
	if !there {
		s.known.Add(1)
	}
	return g.(*group) //nolint:forcetypeassert // nothing else is stored
}

// observe tells the meter what is under way. Counting that in the meter itself
// would be most of what an uncontended run pays for metrics.
func (s *groups) observe(to metric.Observer, i *instruments) {
	s.byName.Range(func(_, v any) bool {
		g := v.(*group) //nolint:forcetypeassert // nothing else is stored
		to.ObserveInt64(i.runs, g.runs.Load(), g.plain.observe...)
		to.ObserveInt64(i.waiters, g.waiters.Load(), g.plain.observe...)
		return true
	})
}
