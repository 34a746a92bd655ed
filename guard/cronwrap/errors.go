package cronwrap

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jobguard/jobguard/internal/panics"
)

// Errors of Add.
var (
	// ErrNoTicks: the guard's store cannot remember ticks, it is no lease.TickStore.
	ErrNoTicks = errors.New("the store cannot remember ticks (it is no lease.TickStore); MutualExclusion works without")

	// ErrDuplicate: the Runner has a job of that name.
	ErrDuplicate = errors.New("there is a job of that name")

	// ErrSchedule: replicas could not agree on the schedule's ticks.
	ErrSchedule = errors.New("the schedule's Next has to be later than its argument, and to depend on nothing else: the same tick from whatever time before it")
)

// Errors that the handler of [OnError] gets, besides those of guard.
var (
	// ErrSkew: the tick lies further ahead of the store's clock than MaxSkew.
	ErrSkew = errors.New("the tick lies too far ahead of the store's clock")

	// ErrMissed: the tick came due in this process and ran nowhere, after a failure of
	// the store, or of a runner for whose run it was dropped.
	ErrMissed = errors.New("no replica ran the tick, and a later one came due")

	// ErrDead: MaxAttempts gave the tick up. It is reported once in all replicas.
	ErrDead = errors.New("the tick is dead")

	// ErrSpec: another process claimed the tick, which this one's schedule does not have:
	// it has another spec or time zone, or is another service with the same prefix. Ticks
	// run twice then, or are missed. Reported, and logged at level Warn, once for each.
	ErrSpec = errors.New("another process has another spec or time zone for this job")
)

// Error is what the handler of [OnError] gets.
type Error struct {
	Name string    // the job's
	Tick time.Time // its scheduled time; zero if it has none

	// Err is what fn returned, a *[PanicError], or an error of guard: ErrLost
	// (joined with fn's own), ErrMaxHold, ErrUnavailable.
	Err error
}

// Error returns one line.
func (e *Error) Error() string {
	if e.Tick.IsZero() {
		return fmt.Sprintf("cronwrap: job %q: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("cronwrap: job %q, tick %s: %v", e.Name, e.Tick.Format(time.RFC3339Nano), e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// PanicError is the panic of a job, or of its schedule. It has the Value, also to be
// unwrapped if that is an error, At, which is file:line, and the Stack of the goroutine.
type PanicError = panics.Error

// errGoexit is reported when fn neither returned nor panicked.
var errGoexit = errors.New("the job called runtime.Goexit")

// logError is the default handler.
func logError(e *Error) {
	if errors.Is(e.Err, ErrSpec) {
		return // it was logged
	}
	args := []any{"job", e.Name, "error", e.Err}
	if !e.Tick.IsZero() {
		args = append(args, "tick", e.Tick)
	}
	if p, ok := errors.AsType[*PanicError](e.Err); ok {
		args = append(args, "stack", string(p.Stack))
	}
	slog.Error("cronwrap: job failed", args...)
}
