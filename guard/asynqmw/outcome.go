package asynqmw

import (
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
)

// notRunError is the outcome of an attempt whose handler did not run, and that is no
// failure: Configure's hooks recognise it, also wrapped by other middleware.
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
	var s *notRunError
	if errors.As(err, &s) {
		return s
	}
	return nil
}

// archive makes asynq archive the task at once: it stays visible and can be run
// again, and no retry is used up.
func archive(err error) error { return fmt.Errorf("%w (%w)", err, asynq.SkipRetry) }

// keyError archives a task whose key can never be made. Any other error of a KeyFunc,
// of its database for example, is a failure like the handler's.
func keyError(err error) error {
	if errors.Is(err, guard.ErrInvalidKey) {
		return archive(err)
	}
	return err
}

// ended returns the error of an attempt whose handler ran and returned own. A lost
// lease of another key, in own, is left to the handler.
func ended(err, own error) error {
	e, ok := err.(*guard.Error)   //nolint:errorlint // one that is wrapped comes from the handler
	same := ok && error(e) == own //nolint:errorlint // it is the same or not
	lost := ok && !same && (errors.Is(e.Kind, guard.ErrLost) || errors.Is(e.Kind, guard.ErrMaxHold))
	if lost && asNotRun(err) == nil && (errors.Is(err, asynq.SkipRetry) || errors.Is(err, asynq.RevokeTask)) {
		return failure{err}
	}
	return err
}

// failure is a lost lease whose handler returned SkipRetry or RevokeTask as well.
// After a loss that does not count: asynq must retry.
type failure struct{ err error }

func (f failure) Error() string { return f.err.Error() }

// Is finds all errors but those two. There is no Unwrap, which would find them.
func (f failure) Is(target error) bool {
	return target != asynq.SkipRetry && target != asynq.RevokeTask && errors.Is(f.err, target)
}

// As is errors.As on the error.
func (f failure) As(target any) bool { return errors.As(f.err, target) }
