package asynqmw

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
)

// ErrNotConfigured is the error of every task that a server without [Configure] gives
// to the middleware. It wraps asynq.SkipRetry: the task is archived, its handler did
// not run and no retry was used up. After Configure was added, run the archived tasks
// again (asynq task runall --queue=default --state=archived). asynq keeps 10 000
// archived tasks per queue.
var ErrNotConfigured = errors.New("asynqmw: the server's asynq.Config did not go through asynqmw.Configure: a busy task could not be deferred")

// dueInterval is how often a configured server looks for due tasks by default.
// asynq's own 5 seconds are too long for deferred tasks.
const dueInterval = time.Second

// Configure returns cfg with what deferral needs. What cfg sets stays in effect:
//
//   - IsFailure is false for tasks that are deferred; for all others cfg.IsFailure is
//     called, or asynq's default.
//
//   - RetryDelayFunc is short for tasks that are deferred; for all others
//     cfg.RetryDelayFunc is called, or asynq's default.
//
//   - ErrorHandler is not called for tasks that are deferred, discarded or replaced
//     by a clone. Watch those with guard.Observe.
//
//   - BaseContext is cfg.BaseContext with a marker that the middleware looks for.
//
//   - DelayedTaskCheckInterval becomes 1s if it is unset; that costs each queue one
//     Redis script a second per server.
//
// Set hooks before Configure: those set on its result undo it.
//
// A unit test can call a handler with the BaseContext of Configure(asynq.Config{}).
func Configure(cfg asynq.Config) asynq.Config {
	cfg.IsFailure = isFailure(cfg.IsFailure)
	cfg.RetryDelayFunc = retryDelay(cfg.RetryDelayFunc)
	cfg.ErrorHandler = errorHandler(cfg.ErrorHandler)
	if cfg.DelayedTaskCheckInterval == 0 {
		cfg.DelayedTaskCheckInterval = dueInterval
	}
	cfg.BaseContext = baseContext(cfg.BaseContext, cfg.DelayedTaskCheckInterval)
	return cfg
}

func isFailure(others func(error) bool) func(error) bool {
	return func(err error) bool {
		switch {
		case asNotRun(err) != nil:
			return false
		case others != nil:
			return others(err)
		}
		return err != nil
	}
}

func retryDelay(others asynq.RetryDelayFunc) asynq.RetryDelayFunc {
	if others == nil {
		others = asynq.DefaultRetryDelayFunc
	}
	return func(n int, err error, task *asynq.Task) time.Duration {
		if s := asNotRun(err); s != nil {
			return s.delay
		}
		return others(n, err, task)
	}
}

func errorHandler(others asynq.ErrorHandler) asynq.ErrorHandler {
	if others == nil {
		return nil
	}
	return asynq.ErrorHandlerFunc(func(ctx context.Context, task *asynq.Task, err error) {
		if asNotRun(err) == nil {
			others.HandleError(ctx, task, err)
		}
	})
}

// markerKey is the key of the DelayedTaskCheckInterval in the contexts of a
// configured server.
type markerKey struct{}

func baseContext(base func() context.Context, interval time.Duration) func() context.Context {
	if base == nil {
		base = context.Background
	}
	return func() context.Context { return context.WithValue(base(), markerKey{}, interval) }
}

func configured(ctx context.Context) bool { return ctx.Value(markerKey{}) != nil }

func checkInterval(ctx context.Context) time.Duration {
	interval, _ := ctx.Value(markerKey{}).(time.Duration)
	return interval
}
