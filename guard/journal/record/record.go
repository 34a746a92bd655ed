// Package record is the contract between a journal and the log that keeps its
// records: what is kept, and the steps by which it changes; and what an [Observer]
// hears. Users of a journal need package journal only. A log of one's own implements
// [Log] and passes guard/journal/logtest.
//
// A record is open from Begin until it is done, compensated or dead. All times are
// those of the log's server; callers pass durations.
package record

import (
	"errors"
	"time"
)

// The errors of a log, besides those of its server.
var (
	ErrFull     = errors.New("journal: the log has as many open runs as it may have")
	ErrNotFound = errors.New("journal: no such record")

	// ErrClaimed is what End returns for a run that is done, but whose record was claimed
	// before: it counts as late, and is taken back.
	ErrClaimed = errors.New("journal: the run's compensation began before its outcome was stored")
)

// Most is how many bytes payload and checkpoint may have together.
const Most = 64 << 10

// Reason is why a run needs compensation.
type Reason string

// The reasons.
const (
	Abandoned Reason = "abandoned" // its process crashed or was cut off, or fn never began
	Failed    Reason = "failed"    // fn returned an error, panicked or exited
	Late      Reason = "late"      // fn ended after its lease was lost, or after its compensation had begun
	Mismatch  Reason = "mismatch"  // there was no run: a check found that log and data differ
)

// Record is what the log knows of a run.
type Record struct {
	ID      string
	Kind    string
	Key     string
	Payload []byte // as given to Do

	Checkpoint []byte // the last one stored; nil if none
	Reason     Reason
	Fence      int64 // the run's fencing token

	// LatestFence is the highest token of a run on the key that began while this
	// record was open: Fence if there was none later.
	LatestFence int64

	Attempt int       // 1 at the first call of a handler
	Started time.Time // when the intent was stored, by the log's clock
	Err     string    // of fn, or of the last handler that failed; at most 1 KiB
}

// Ref names r.
func (r Record) Ref() Ref { return Ref{ID: r.ID, Kind: r.Kind, Key: r.Key} }

// Stats counts records.
type Stats struct {
	Open   int           // began, and neither finished nor dead; includes runs under way
	Dead   int           // given up
	Oldest time.Duration // the age of the oldest open one; 0 if there is none
}
