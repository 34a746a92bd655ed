package journal

import (
	"context"
	"log/slog"

	"github.com/jobguard/jobguard/internal/panics"
)

// Observer hears what happens to records. Happened is called on the goroutine that does
// the work, so it must be quick, and may be called concurrently. A panic in it is logged.
type Observer interface {
	Happened(ctx context.Context, e Event)
}

// Event is something that happened to a record.
type Event struct {
	Kind   EventKind
	Record Record // as far as known
	Err    error  // of what failed; nil for EventCompensated and EventLate
}

// EventKind tells events apart.
type EventKind string

// The events. New ones may be added.
const (
	EventCompensated EventKind = "compensated" // a handler has returned nil, and the log knows
	EventRetry       EventKind = "retry"       // a handler failed and will be called again
	EventDead        EventKind = "dead"        // a handler failed for the last time
	EventLate        EventKind = "late"        // a run of this process ended after its lease was lost
	EventUnstored    EventKind = "unstored"    // an outcome could not be stored: the record stays open
	EventMismatch    EventKind = "mismatch"    // a check found one, perhaps not for the first time
	EventCheckFailed EventKind = "check failed"
	EventSweepFailed EventKind = "sweep failed"
)

// happened calls the observers. What matters and nobody would hear of is logged.
func (j *Journal) happened(ctx context.Context, e Event) {
	for _, o := range j.opts.observers {
		if p := panics.Catch(func() { o.Happened(ctx, e) }); p != nil {
			slog.ErrorContext(ctx, "journal: an Observer panicked", "panic", p.Value, "at", p.At)
		}
	}
	if len(j.opts.observers) > 0 {
		return
	}
	switch e.Kind {
	case EventUnstored, EventCheckFailed, EventSweepFailed:
		slog.WarnContext(ctx, "journal: "+string(e.Kind), "kind", e.Record.Kind, "id", e.Record.ID, "err", e.Err)
	default:
	}
}
