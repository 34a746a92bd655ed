package asynqmw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/internal/validkey"
	"github.com/jobguard/jobguard/internal/panics"
)

// KeyFunc makes the key that a task runs under, with guard.Key for example. ctx is the
// handler's. An error, a panic, and an invalid key are failures of the task and retried,
// as an error of the handler is: see [Middleware.KeyErrors]. With [WithRedis] a task
// without a retry left makes way for a clone that comes half a minute later, and a KeyFunc
// that takes more than a few milliseconds delays other keys' tasks.
type KeyFunc func(ctx context.Context, task *asynq.Task) (string, error)

// PayloadField takes the key from a top-level field of a JSON payload, a string or an
// integer: PayloadField("sku") yields guard.Key("sku", value). If the field is
// missing, empty, or of another type, the task has no valid key. 42 and "42" make the
// same key. An empty name panics.
func PayloadField(name string) KeyFunc {
	if name == "" {
		panic("asynqmw: PayloadField: the name is empty")
	}
	return func(_ context.Context, task *asynq.Task) (string, error) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(task.Payload(), &fields); err != nil {
			return "", fmt.Errorf("%w: the payload is no JSON object: %w", guard.ErrInvalidKey, err)
		}
		text, ok := scalar(fields[name])
		if !ok {
			return "", fmt.Errorf("%w: the payload has no field %q that is an integer, or a string with something in it", guard.ErrInvalidKey, name)
		}
		return guard.Key(name, text), nil
	}
}

// scalar returns the text of a non-empty string or an integer. An integer without
// exponent has one form in JSON, except for -0; other numbers have several, each of
// which would be a key of its own.
func scalar(value json.RawMessage) (text string, ok bool) {
	if len(value) == 0 {
		return "", false
	}
	switch c := value[0]; {
	case c == '"':
		err := json.Unmarshal(value, &text)
		return text, err == nil && text != ""
	case c == '-' || '0' <= c && c <= '9':
		text = string(value)
		return text, text != "-0" && !strings.ContainsAny(text, ".eE")
	}
	return "", false
}

// TaskID makes a key of the task's queue and id, which is unique in its queue only:
// one run at a time per task, even if a handler outlives its Timeout. A clone has the
// key of its original; a KeyFunc that calls asynq.GetTaskID would give it another.
func TaskID() KeyFunc {
	return func(ctx context.Context, _ *asynq.Task) (string, error) {
		id, ok := asynq.GetTaskID(ctx)
		if !ok {
			return "", fmt.Errorf("%w: no task id: the context comes from no asynq server", guard.ErrInvalidKey)
		}
		queue, _ := asynq.GetQueueName(ctx)
		return guard.Key("task", queue, original(id)), nil
	}
}

// Join makes one key of several parts, by guard.Key: different parts never make the
// same key. If a part has no valid key, the task has none. No part, or a nil one,
// panics.
func Join(parts ...KeyFunc) KeyFunc {
	if len(parts) == 0 {
		panic("asynqmw: Join: no KeyFunc")
	}
	if slices.ContainsFunc(parts, func(f KeyFunc) bool { return f == nil }) {
		panic("asynqmw: Join: a KeyFunc is nil")
	}
	parts = slices.Clone(parts)
	return func(ctx context.Context, task *asynq.Task) (string, error) {
		keys := make([]string, len(parts))
		for i, part := range parts {
			key, err := part(ctx, task)
			if err != nil {
				return "", err
			}
			keys[i] = key
		}
		return guard.Key(keys...), nil
	}
}

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
	if !errors.Is(err, ErrNotConfigured) { // which is not about a key
		err = fmt.Errorf("asynqmw: no key for a task of type %q: %w", a.task.Type(), err)
	}
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
		_ = backoff.Sleep(ctx, cloneInterval) // whose end the loop sees
	}
	return err
}

// KeyErrors returns how many attempts had no valid key since New: what to alert on, see
// [OnKeyError] for a metric. They are logged too (log/slog), at level Error and once a
// second at most.
func (m *Middleware) KeyErrors() int64 { return m.keyErrors.Load() }
