package asynqmw

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/internal/validkey"
	"github.com/jobguard/jobguard/internal/panics"
)

// repairTime is how long a clone of a task without a valid key rests, at least.
const repairTime = 30 * time.Second

// keyOf returns a valid key of the task.
func (m *Middleware) keyOf(ctx context.Context, task *asynq.Task) (key string, err error) {
	if p := panics.Catch(func() { key, err = m.key(ctx, task) }); p != nil {
		return "", fmt.Errorf("the KeyFunc panicked [%s]: %v", p.At, p.Value)
	}
	if err != nil {
		return "", err
	}
	if err = validkey.Check(key); err != nil {
		return "", fmt.Errorf("%w %q: %w", guard.ErrInvalidKey, key, err)
	}
	return key, nil
}

// keyError is the outcome of an attempt that has no valid key because of err.
func (m *Middleware) keyError(ctx context.Context, a *attempt, err error) error {
	err = fmt.Errorf("asynqmw: no key for a task of type %q: %w", a.task.Type(), err)
	m.keyErrors.Add(1)
	m.noKey(ctx, a.task.Type())
	if now, last := time.Now().UnixNano(), m.logged.Load(); now-last >= int64(time.Second) && m.logged.CompareAndSwap(last, now) {
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

// KeyErrors returns how many attempts had no valid key since New: what to alert on, see
// [OnKeyError] for a metric. They are logged too (log/slog), at level Error and once a
// second at most.
func (m *Middleware) KeyErrors() int64 { return m.keyErrors.Load() }
