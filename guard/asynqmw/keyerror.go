package asynqmw

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/backoff"
)

const (
	// logInterval is the least time between two logs.
	logInterval = time.Second
	// repairTime is how long a clone of a task without a valid key rests, at least.
	repairTime = 30 * time.Second
)

// keyOf returns a valid key of the task.
func (m *Middleware) keyOf(ctx context.Context, task *asynq.Task) (key string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the KeyFunc panicked: %v\n%s", p, debug.Stack())
		}
	}()
	if key, err = m.key(ctx, task); err != nil {
		return "", err
	}
	// A guard checks the key before it looks at the context, and then does nothing.
	err = m.guard.Do(ended, key, func(context.Context) error { return nil })
	if errors.Is(err, guard.ErrInvalidKey) {
		return "", err
	}
	return key, nil
}

var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// keyError is the outcome of an attempt that has no valid key because of err.
func (m *Middleware) keyError(ctx context.Context, a *attempt, err error) error {
	err = fmt.Errorf("asynqmw: no key for a task of type %q: %w", a.task.Type(), err)
	m.keyErrors.Add(1)
	if now, last := time.Now().UnixNano(), m.logged.Load(); now-last >= int64(logInterval) && m.logged.CompareAndSwap(last, now) {
		slog.ErrorContext(ctx, "asynqmw: a task cannot run and will be retried", "type", a.task.Type(),
			"task", a.id, "queue", a.queue, "error", readable(err), "keyErrors", m.keyErrors.Load())
	}
	for a.last && m.client != nil && ctx.Err() == nil { // on its worker until a clone can be enqueued
		if m.putBack(ctx, a, backoff.Jitter(repairTime, 2*repairTime)) == nil {
			return replaced(err)
		}
		select {
		case <-time.After(cloneInterval):
		case <-ctx.Done():
		}
	}
	return err
}

// KeyErrors returns how many attempts had no valid key since New: what to watch, and
// to alert on, after a deployment.
func (m *Middleware) KeyErrors() int64 { return m.keyErrors.Load() }
