package journal

import (
	"context"
	"log/slog"

	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/internal/panics"
)

// Observer hears what happens to records. Happened is called on the goroutine that does
// the work, so it must be quick, and may be called concurrently. A panic in it is logged.
// An Observer that has the method Watch of [record.Watcher] also learns how to read the
// log's figures. otelguard.Observer is one.
type Observer = record.Observer

// Event is something that happened to a record: Kind, Name of the journal, Record and Err. See
// [record.Event].
type Event = record.Event

// EventKind tells events apart.
type EventKind = record.EventKind

// The events. New ones may be added.
const (
	EventCompensated = record.EventCompensated // a handler has returned nil, and the log knows
	EventRetry       = record.EventRetry       // a handler failed and will be called again
	EventDead        = record.EventDead        // a handler failed for the last time
	EventLate        = record.EventLate        // a run of this process ended after its lease was lost
	EventUnstored    = record.EventUnstored    // an outcome could not be stored: the record stays open
	EventMismatch    = record.EventMismatch    // a check found one, perhaps not for the first time
	EventCheckFailed = record.EventCheckFailed
	EventSweepFailed = record.EventSweepFailed
)

// watch tells the observers that ask for figures how to get them.
func (j *Journal) watch() {
	w := record.Watched{Name: j.name, MaxOpen: j.opts.maxOpen, Stats: j.log.Stats, Kinds: j.kinds}
	for _, o := range j.opts.observers {
		if watcher, ok := o.(record.Watcher); ok {
			watcher.Watch(w)
		}
	}
}

// happened calls the observers. What an operator has to know the text of is logged, too.
func (j *Journal) happened(ctx context.Context, e Event) {
	e.Name = j.name
	for _, o := range j.opts.observers {
		if p := panics.Catch(func() { o.Happened(ctx, e) }); p != nil {
			slog.ErrorContext(ctx, "journal: an Observer panicked", "panic", p.Value, "at", p.At)
		}
	}
	switch e.Kind {
	case EventUnstored, EventCheckFailed, EventSweepFailed:
		slog.WarnContext(ctx, "journal: "+string(e.Kind), "kind", e.Record.Kind, "id", e.Record.ID, "err", e.Err)
	default:
	}
}
