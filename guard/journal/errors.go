package journal

import (
	"errors"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal/record"
)

// errLog is guard.ErrUnavailable, and says that it was not the store of the leases.
var errLog error = unavailable{}

type unavailable struct{}

func (unavailable) Error() string { return "the journal's log is unavailable" }

func (unavailable) Unwrap() error { return guard.ErrUnavailable }

var (
	// ErrFull is returned by Do when the log has MaxOpen open runs. fn did not run.
	ErrFull = record.ErrFull

	// ErrNotFound is returned by Requeue and Drop for an id of which no record is dead.
	ErrNotFound = record.ErrNotFound

	// ErrTooLarge is returned when payload and checkpoint have more than 64 KiB together.
	ErrTooLarge = errors.New("journal: payload and checkpoint have more than 64 KiB together")

	// ErrOpen is returned by Do of an Ordered journal when an earlier run of the key is
	// still open and could not be compensated now. It wraps the reason. fn did not run.
	ErrOpen = errors.New("journal: an earlier run of the key is open")

	// ErrNoRun is returned by Checkpoint outside of a run, or after fn has returned.
	ErrNoRun = errors.New("journal: the context comes from no run that goes on")
)
