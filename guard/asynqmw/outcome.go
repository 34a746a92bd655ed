package asynqmw

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
)

// notRunError is the outcome of an attempt whose handler did not run, and that is no
// failure: Config's hooks recognise it, also wrapped by other middleware.
type notRunError struct {
	how    string
	cause  error
	delay  time.Duration // until the task is tried again
	revoke bool          // the task is to be deleted: discarded, or replaced by a clone
}

func (s *notRunError) Error() string { return "asynqmw: " + s.how + ": " + s.cause.Error() }

// Unwrap gives the cause, such as guard.ErrBusy, to middleware further out.
func (s *notRunError) Unwrap() []error {
	if s.revoke {
		return []error{s.cause, asynq.RevokeTask}
	}
	return []error{s.cause}
}

// asNotRun finds a notRunError in err, nil if there is none.
func asNotRun(err error) *notRunError {
	s, _ := errors.AsType[*notRunError](err)
	return s
}

// replaced is the outcome of a task that was replaced by a clone.
func replaced(cause error) error {
	return &notRunError{how: "replaced by a clone", cause: cause, revoke: true}
}

// finished returns the error of an attempt whose handler ran and returned own. A lost
// lease of another key, in own, is left to the handler.
func finished(err, own error) error {
	e, ok := err.(*guard.Error)   //nolint:errorlint // one that is wrapped comes from the handler
	same := ok && error(e) == own //nolint:errorlint // it is the same or not
	lost := ok && !same && (errors.Is(e.Kind, guard.ErrLost) || errors.Is(e.Kind, guard.ErrMaxHold))
	if lost && asNotRun(err) == nil && (errors.Is(err, asynq.SkipRetry) || errors.Is(err, asynq.RevokeTask)) {
		// After a loss these do not count: asynq must retry.
		failure := *e
		failure.Err = errors.New(e.Err.Error())
		return &failure
	}
	return err
}

// readable returns err with a text of valid UTF-8. asynq stores it in protobuf, which
// takes no other: the task would stay active until asynq's lease on it ends.
func readable(err error) error {
	if err == nil || utf8.ValidString(err.Error()) {
		return err
	}
	return repaired{err}
}

type repaired struct{ error }

func (r repaired) Error() string { return strings.ToValidUTF8(r.error.Error(), "\uFFFD") }
func (r repaired) Unwrap() error { return r.error }
