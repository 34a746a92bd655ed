package asynqmw

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

// ErrNotConfigured is the error of every task that a server without
// [Middleware.Config] gives to the middleware. Its handler did not run; it is retried,
// as after an error of its [KeyFunc].
var ErrNotConfigured = errors.New("asynqmw: the server's asynq.Config did not go through Middleware.Config: give asynq.NewServer what Config returns, else a busy task could not be deferred")

// Config returns cfg with what deferral needs. What cfg sets stays in effect:
//
//   - IsFailure, RetryDelayFunc and ErrorHandler are not called for tasks that are
//     deferred, discarded or replaced by a clone. Watch those with guard.Observe.
//   - BaseContext gets a marker that the middleware looks for.
//   - DelayedTaskCheckInterval becomes 1s if it is unset, for deferred tasks: one Redis
//     script a second for each queue and server.
//   - TaskCheckInterval becomes 10ms with [WithRedis] if it is unset, for keys with a
//     line: a hundred for each queue and idle server, about 1 % of a Redis core.
//
// Set hooks before Config: those set on its result undo it. A unit test can call a
// handler with the BaseContext of mw.Config(asynq.Config{}).
func (m *Middleware) Config(cfg asynq.Config) asynq.Config {
	isFailure, retryDelay, handler, base := cfg.IsFailure, cfg.RetryDelayFunc, cfg.ErrorHandler, cfg.BaseContext
	if isFailure == nil {
		isFailure = func(err error) bool { return err != nil }
	}
	if retryDelay == nil {
		retryDelay = asynq.DefaultRetryDelayFunc
	}
	if base == nil {
		base = context.Background
	}
	cfg.IsFailure = func(err error) bool { return asNotRun(err) == nil && isFailure(err) }
	cfg.RetryDelayFunc = func(n int, err error, task *asynq.Task) time.Duration {
		if s := asNotRun(err); s != nil {
			return s.delay
		}
		return retryDelay(n, err, task)
	}
	if handler != nil {
		cfg.ErrorHandler = asynq.ErrorHandlerFunc(func(ctx context.Context, task *asynq.Task, err error) {
			if asNotRun(err) == nil {
				handler.HandleError(ctx, task, markOf(ctx).explain(err))
			}
		})
	}
	cfg.DelayedTaskCheckInterval = cmp.Or(cfg.DelayedTaskCheckInterval, time.Second)
	if m.line != nil {
		cfg.TaskCheckInterval = cmp.Or(cfg.TaskCheckInterval, 10*time.Millisecond)
	}
	workers := cmp.Or(max(0, cfg.Concurrency), runtime.NumCPU()) // as asynq does
	cfg.BaseContext = func() context.Context {
		return context.WithValue(base(), markKey{}, &mark{waiters: int64(workers / 4)})
	}
	return cfg
}

// mark is what a configured server puts into the context of each attempt.
type mark struct {
	waiters  int64                  // how many workers may wait for runs that others began
	waitsFor atomic.Pointer[string] // the key, from when the attempt tries it until the handler runs
}

type markKey struct{}

// markOf returns the mark in ctx, nil if the server is not configured.
func markOf(ctx context.Context) *mark {
	m, _ := ctx.Value(markKey{}).(*mark)
	return m
}

// explain adds to asynq's error, of a task that was cancelled or whose Timeout passed,
// that its handler did not run, if so.
func (m *mark) explain(err error) error {
	if m != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		if key := m.waitsFor.Load(); key != nil {
			return fmt.Errorf("asynqmw: the handler did not run, the task waited for its key %q: %w", *key, err)
		}
	}
	return err
}
