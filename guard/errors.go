package guard

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine"
	"github.com/jobguard/jobguard/guard/lease"
)

// The kinds of failure. Test with errors.Is; for details use errors.As with
// [*Error].
var (
	// ErrBusy: somebody else holds the key, and the wait is over. fn did not run.
	ErrBusy = engine.ErrBusy

	// ErrLost: the lease could no longer be proven while fn ran. fn's context
	// was cancelled with this cause; fn has returned, its work may be partial.
	ErrLost = engine.ErrLost

	// ErrUnavailable: the store could not be asked, or had not answered when the wait,
	// or the caller's deadline, was over. fn did not run.
	ErrUnavailable = engine.ErrUnavailable

	// ErrClosed: the guard was shut down before fn could start.
	ErrClosed = engine.ErrClosed

	// ErrMaxHold: fn ran longer than MaxHold. Its context was cancelled with
	// this cause.
	ErrMaxHold = engine.ErrMaxHold

	// ErrInvalidKey: the key is empty, longer than 512 bytes, or contains
	// control characters. fn did not run.
	ErrInvalidKey = errors.New("invalid key")
)

// Error carries what is known about a failure. It never wraps an error that fn
// returned without a loss of its own: that one passes through unchanged.
type Error struct {
	Op  string // "do", "doall", "lead", "ensure"
	Key string // the key concerned, as the caller wrote it

	// Holder names who has the key: the owner name (host:pid unless
	// configured), or the value another program wrote. "" if unknown.
	Holder string

	// RetryAfter is when the holder's lease expires unless it is renewed; 0 if
	// unknown. A hint: the holder may be done sooner, or much later.
	RetryAfter time.Duration

	Fence int64 // the run's fencing token, when it ran; else 0

	Kind error // one of the Err… values, or the context's error
	Err  error // the cause, and fn's own error after a loss; may be nil
}

// Error returns one line with everything but the fence. A key is cut after 100 bytes.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "guard: %s %s: %v", e.Op, quoted(e.Key), e.Kind)
	if e.Holder != "" {
		fmt.Fprintf(&b, " (held by %s", e.Holder)
		if e.RetryAfter > 0 {
			fmt.Fprintf(&b, " for %v unless renewed", e.RetryAfter.Round(time.Millisecond))
		}
		b.WriteByte(')')
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return strings.ReplaceAll(b.String(), "\n", "; ") // joined errors have lines
}

// quoted is key as it is shown: one that is too long may be anything.
func quoted(key string) string {
	const most = 100
	if len(key) <= most {
		return strconv.Quote(key)
	}
	return strconv.Quote(key[:most]) + "…"
}

// Unwrap returns Kind and Err, so that errors.Is finds both.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// refused makes the error of a run that did not start.
func refused(op, key string, f *engine.Failure) *Error {
	e := &Error{
		Op: op, Key: key,
		Holder: lease.OwnerName(f.Holder), RetryAfter: f.RetryAfter,
		Kind: f.Kind, Err: f.Err,
	}
	if e.Err == nil && lease.KeptClosed(f.Holder) {
		e.Err = errKeptClosed
	}
	return e
}

// errKeptClosed is why a key is busy though nobody runs under it.
var errKeptClosed = errors.New("its run is over, and its MinHold is not")

// ended makes the error of a run whose lease did not last.
func ended(op string, h *engine.Hold, lost *engine.Lost) *Error {
	e := &Error{
		Op: op, Key: h.Key(), Fence: h.Fence, Holder: lease.OwnerName(lost.Holder),
		Kind: lost.Kind,
	}
	if lost.Reason != engine.ReasonMaxHold { // there the kind says it all
		e.Err = lost
	}
	return e
}
