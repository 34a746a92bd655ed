package record

import "context"

// Observer hears what happens to records. Happened is called on the goroutine that does
// the work, so it must be quick, and may be called concurrently. A panic in it is logged.
type Observer interface {
	Happened(ctx context.Context, e Event)
}

// Event is something that happened to a record.
type Event struct {
	Kind   EventKind
	Name   string // guard.Name of the journal's guard
	Record Record // as far as known
	Err    error  // of what failed; nil for EventCompensated, EventLate and EventMismatch
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

// Watcher is an Observer that also reads figures of the log, from time to time.
// journal.New calls Watch once, before it returns.
type Watcher interface {
	Observer
	Watch(w Watched)
}

// Watched is what a Watcher can ask of a journal, for as long as the program lives.
type Watched struct {
	Name    string // as in Event
	MaxOpen int
	Stats   func(ctx context.Context) (Stats, error) // asks the log's server
	Kinds   func() []string                          // those with a handler in this process, now
}
