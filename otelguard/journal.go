package otelguard

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/jobguard/jobguard/guard/journal/record"
)

// statsTimeout bounds what a collection of metrics waits for the logs of journals.
const statsTimeout = 2 * time.Second

// journals are those that use an Observer.
type journals struct {
	names *table[string, *journalName]
	kinds *table[journalKind, *kindLabels]

	mu      sync.Mutex // guards watched
	watched []record.Watched
}

// journalName holds what is recorded under the name of a journal's guard.
type journalName struct {
	plain                        *labels
	outcome, check, sweep, stats *labels // what failed
}

// journalKind is one kind of runs of the journals of a name.
type journalKind struct{ name, kind string }

// kindLabels are those of what happens to records of a kind.
type kindLabels struct {
	plain           *labels
	ok, retry, dead *labels // what came of a handler
}

func newJournals(i *instruments) *journals {
	return &journals{
		names: newTable(maxGroups, otherError, func(name string) *journalName { return newJournalName(name, i) }),
		kinds: newTable(maxGroups, journalKind{otherError, otherError}, func(k journalKind) *kindLabels { return newKindLabels(k, i) }),
	}
}

// newJournalName adds 0 to its counters, as newGroup does.
func newJournalName(name string, i *instruments) *journalName {
	kv := nameKey.String(labelOf(name))
	failing := func(operation string) *labels {
		l := newLabels(kv, operationKey.String(operation))
		i.journalErrors.Add(context.Background(), 0, l.add...)
		return l
	}
	return &journalName{
		plain:   newLabels(kv),
		outcome: failing("outcome"), check: failing("check"), sweep: failing("sweep"), stats: failing("stats"),
	}
}

func newKindLabels(k journalKind, i *instruments) *kindLabels {
	name, kind := nameKey.String(labelOf(k.name)), kindKey.String(short(k.kind))
	l := &kindLabels{
		plain: newLabels(name, kind),
		ok:    newLabels(name, kind, resultKey.String("ok")),
		retry: newLabels(name, kind, resultKey.String("retry")),
		dead:  newLabels(name, kind, resultKey.String("dead")),
	}
	ctx := context.Background()
	for _, result := range []*labels{l.ok, l.retry, l.dead} {
		i.compensations.Add(ctx, 0, result.add...)
	}
	i.late.Add(ctx, 0, l.plain.add...)
	i.mismatches.Add(ctx, 0, l.plain.add...)
	return l
}

// Happened implements journal.Observer: it counts what happens to records.
func (o *Observer) Happened(ctx context.Context, e record.Event) {
	m := &o.instruments
	kind := func() *kindLabels { return o.journals.kinds.of(journalKind{e.Name, e.Record.Kind}) }
	name := func() *journalName { return o.journals.names.of(e.Name) }
	switch e.Kind {
	case record.EventCompensated:
		m.compensations.Add(ctx, 1, kind().ok.add...)
	case record.EventRetry:
		m.compensations.Add(ctx, 1, kind().retry.add...)
	case record.EventDead:
		m.compensations.Add(ctx, 1, kind().dead.add...)
	case record.EventLate:
		m.late.Add(ctx, 1, kind().plain.add...)
	case record.EventMismatch:
		m.mismatches.Add(ctx, 1, kind().plain.add...)
	case record.EventUnstored:
		m.journalErrors.Add(ctx, 1, name().outcome.add...)
	case record.EventCheckFailed:
		m.journalErrors.Add(ctx, 1, name().check.add...)
	case record.EventSweepFailed:
		m.journalErrors.Add(ctx, 1, name().sweep.add...)
	}
}

// Watch implements record.Watcher. journal.New calls it for an Observer that is given to
// journal.Observe: from then on each collection of metrics asks the journal's log for its
// figures, for at most 2 s.
func (o *Observer) Watch(w record.Watched) {
	o.journals.names.of(w.Name)
	o.journals.mu.Lock()
	defer o.journals.mu.Unlock()
	o.journals.watched = append(o.journals.watched, w)
}

// figures are what is observed under one name: of several logs the worst.
type figures struct {
	asked         bool
	stats         record.Stats
	limit, failed int
}

func (f *figures) add(limit int, s record.Stats, err error) {
	if err != nil {
		f.failed++
		return
	}
	f.asked = true
	f.limit = max(f.limit, limit)
	f.stats.Open, f.stats.Dead = max(f.stats.Open, s.Open), max(f.stats.Dead, s.Dead)
	f.stats.Oldest = max(f.stats.Oldest, s.Oldest)
}

// observeJournals asks the logs, side by side, when metrics are collected. A log that does
// not answer has no figures, and counts as an error of the operation "stats": an error of
// a callback would cost the exporter all other metrics.
func (o *Observer) observeJournals(ctx context.Context, to metric.Observer) error {
	o.journals.mu.Lock()
	watched := o.journals.watched[:len(o.journals.watched):len(o.journals.watched)]
	o.journals.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	stats, errs := make([]record.Stats, len(watched)), make([]error, len(watched))
	var asked sync.WaitGroup // its goroutines end with the log's answer, or with ctx
	for i, w := range watched {
		asked.Go(func() { stats[i], errs[i] = w.Stats(ctx) })
	}
	asked.Wait()

	all := make(map[*journalName]*figures)
	for i, w := range watched {
		for _, kind := range w.Kinds() {
			o.journals.kinds.of(journalKind{w.Name, kind})
		}
		name := o.journals.names.of(w.Name)
		if all[name] == nil {
			all[name] = &figures{}
		}
		all[name].add(w.MaxOpen, stats[i], errs[i])
	}
	i := &o.instruments
	for name, f := range all {
		i.journalErrors.Add(ctx, int64(f.failed), name.stats.add...)
		if !f.asked {
			continue
		}
		to.ObserveInt64(i.open, int64(f.stats.Open), name.plain.observe...)
		to.ObserveInt64(i.openLimit, int64(f.limit), name.plain.observe...)
		to.ObserveInt64(i.dead, int64(f.stats.Dead), name.plain.observe...)
		to.ObserveFloat64(i.oldest, f.stats.Oldest.Seconds(), name.plain.observe...)
	}
	return nil
}
