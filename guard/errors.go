package guard

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/internal/engine/queue"
	"github.com/jobguard/jobguard/guard/lease"
)

// The kinds of failure. Test with errors.Is; for details use errors.As with
// [*Error].
var (
	// ErrBusy: the key is held, and the wait is over. fn did not run.
	ErrBusy = errors.New("busy: the key is held")

	// ErrLost: the lease could no longer be proven while fn ran. fn's context
	// was cancelled with this cause; fn has returned, its work may be partial.
	ErrLost = errors.New("lease lost")

	// ErrUnavailable: the store could not be asked, or had not answered when the wait,
	// or the caller's deadline, was over. fn did not run.
	ErrUnavailable = errors.New("lease store unavailable")

	// ErrClosed: the guard was shut down before fn could start; of Lead also while it
	// led, and fn has returned then. A Lead that waited may have led before.
	ErrClosed = errors.New("guard is shut down")

	// ErrMaxHold: fn ran longer than MaxHold. Its context was cancelled with
	// this cause.
	ErrMaxHold = errors.New("held longer than MaxHold")

	// ErrRevoked: an operator asked the holder to stop (Revoke of the store), while fn
	// ran. fn's context was cancelled with this cause, and the key kept until fn had
	// returned. It is the result also if fn returned nil.
	ErrRevoked = errors.New("revoked: the holder was told to stop")

	// ErrInvalidKey: the key is empty, longer than 512 bytes, or contains
	// control characters. fn did not run.
	ErrInvalidKey = errors.New("invalid key")

	// ErrOrder: DoAll was called inside a run that holds a key which sorts after
	// one of the new keys. Waiting for it could deadlock. fn did not run.
	ErrOrder = errors.New("key out of order")

	// ErrReplaced: a newcomer under [Replace] asked a run to stop, as with ErrRevoked,
	// or, beside ErrBusy, of a caller that waited under Replace; its fn did not run.
	ErrReplaced = errors.New("replaced by a newcomer")

	// ErrKeptClosed: beside ErrBusy, the key has no run, and MinHold keeps it closed.
	// Error.RetryAfter is then exact.
	ErrKeptClosed = errors.New("its run is over, and its MinHold is not")

	// ErrUnproven: Ensure could not prove as much of the lease as was asked for.
	// The lease is not lost.
	ErrUnproven = errors.New("lease not proven for that long")
)

// Error carries what is known about a failure. It never wraps an error that fn
// returned without a loss of its own: that one passes through unchanged.
type Error struct {
	Op  string // "do", "doall", "lead", "ensure", "holder", "journal"
	Key string // the key concerned, as the caller wrote it

	// Holder names who has the key: the owner name (host:pid unless
	// configured), or the value another program wrote. "" if unknown.
	Holder string

	// RetryAfter is when the holder's lease expires unless it is renewed; 0 if
	// unknown. A hint: the holder may be done sooner, or much later. Exact with
	// ErrKeptClosed.
	RetryAfter time.Duration

	Fence int64 // the run's fencing token, when it ran; else 0

	Kind error // one of the Err… values, or the context's error
	Err  error // the cause, and fn's own error after a loss; may be nil

	here bool // a run of this process is the holder
}

// Error returns one line with everything but the fence, and says so if another run of this
// process, over the same Store, is the holder: a Do inside of fn without fn's ctx waits for
// itself. A key is cut after 100 bytes.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "guard: %s %s: %v", e.Op, quoted(e.Key), e.Kind)
	if e.Holder != "" {
		b.WriteString(" (held by ")
		if e.here {
			b.WriteString("another run of this process, ")
		}
		b.WriteString(e.Holder)
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

// operation is what [Error.Op] names.
type operation uint8

const (
	opDo operation = iota
	opDoAll
	opLead
)

func (o operation) String() string { return [...]string{"do", "doall", "lead"}[o] }

// refused makes the error of a run that did not start.
func refused(ctx context.Context, op operation, key string, f *queue.Failure) *Error {
	e := &Error{Op: op.String(), Key: key, Holder: lease.OwnerName(f.Holder), RetryAfter: f.RetryAfter, Err: f.Err, here: f.Here}
	switch f.Kind {
	case queue.Busy:
		e.Kind = ErrBusy
	case queue.Unavailable:
		e.Kind = ErrUnavailable
	case queue.Closed:
		e.Kind = ErrClosed
	case queue.Unasked:
		return &Error{Op: op.String(), Key: key, Kind: ctx.Err(), Err: whyNotRun(ctx)}
	}
	switch {
	case e.Err != nil:
	case f.Replaced:
		e.Err = ErrReplaced
	case lease.KeptClosed(f.Holder):
		e.Err = ErrKeptClosed
	case heldAround(ctx, key, f.Holder):
		e.Err = errOtherStore
	}
	if f.ContextEnded {
		e.Err = errors.Join(ctx.Err(), whyNotRun(ctx), e.Err)
	}
	return e
}

var (
	// errOtherStore is why a nested run waits in vain for the run around it.
	errOtherStore = errors.New("the run around this one holds it, through another Store value: make one Store for each client and prefix")

	// errStricter is why a nested run is refused that would wait for the run around it.
	errStricter = errors.New("the context holds the key with Shared or a Limit; a stricter run inside would wait for it for ever")
)

// lost makes the error of a run whose lease did not last.
func lost(op operation, h *keep.Hold, why *keep.Lost) *Error {
	e := &Error{Op: op.String(), Key: h.Key(), Fence: h.Fence, Holder: lease.OwnerName(why.Holder), Kind: ErrLost, Err: why}
	switch why.Reason {
	case keep.MaxHold:
		e.Kind, e.Err = ErrMaxHold, nil // the kind says it all
	case keep.Revoked:
		e.Kind, e.Err = ErrRevoked, why.Err
	case keep.Replaced:
		e.Kind, e.Err = ErrReplaced, why.Err
	case keep.Expired, keep.NotOwner:
	}
	return e
}

// whyNotRun is the cause of ctx's end if it says more than ctx's error.
func whyNotRun(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() { //nolint:errorlint // identity is meant
		return notRun{cause}
	}
	return nil
}

// notRun is why a run did not start: its context had ended. If that is the loss
// of a run around it, it is said in words only: matching ErrLost would say that
// this run's own fn lost its lease, perhaps in mid-work.
type notRun struct{ cause error }

func (e notRun) Error() string { return "fn did not run: " + e.cause.Error() }

func (e notRun) Unwrap() error {
	if own := (*Error)(nil); errors.As(e.cause, &own) {
		return nil
	}
	return e.cause
}

// lossError is a loss as observers get it: its text is the reason alone.
type lossError struct {
	kind error // ErrLost or ErrMaxHold
	why  *keep.Lost
}

func (e lossError) Error() string { return e.why.Error() }

func (e lossError) Unwrap() []error { return []error{e.kind, e.why} }
