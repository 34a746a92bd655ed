package asynqmw

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

// limits are those of the task, as far as they are known.
type limits struct {
	timeout   time.Duration // 0: none
	deadline  time.Time     // zero: none
	retention time.Duration
	exact     bool // from an Inspector
}

// guessLimits recovers a Timeout or Deadline from the end of an attempt's context.
// Timeouts are whole seconds from the start of the attempt, which was just before
// began, or at the same time on a coarse clock; Deadlines are whole seconds of the
// clock. So is the end of an attempt with both, which is taken for a Deadline.
func guessLimits(ctx context.Context, began time.Time) limits {
	end, ok := ctx.Deadline()
	switch {
	case !ok:
		return limits{}
	case end.Nanosecond() == 0:
		return limits{deadline: end}
	}
	return limits{timeout: (end.Sub(began) - 1).Truncate(time.Second) + time.Second}
}

// inspect asks asynq for the limits. It may hang for as long as the Inspector's Redis
// client allows.
func (m *middleware) inspect(queue, id string) (limits, error) {
	info, err := m.inspector.GetTaskInfo(queue, id)
	if err != nil {
		return limits{}, fmt.Errorf("inspecting the task: %w", err)
	}
	return limits{timeout: info.Timeout, deadline: info.Deadline, retention: info.Retention, exact: true}, nil
}

// options gives a clone these limits.
func (l *limits) options() []asynq.Option {
	var opts []asynq.Option
	if l.timeout > 0 {
		opts = append(opts, asynq.Timeout(l.timeout))
	}
	if !l.deadline.IsZero() {
		opts = append(opts, asynq.Deadline(l.deadline))
	}
	if l.retention > 0 {
		opts = append(opts, asynq.Retention(l.retention))
	}
	return opts
}

// pickUp is the time for asynq to start a task that is due, and for the task to try
// its key.
const pickUp = 3 * time.Second

// delayWithin draws the time that a task rests. It is shortened if the task would
// come back too late for a last try before its Deadline, after which asynq fails the
// task without calling the middleware. ok is false if there is no time to rest.
func (m *middleware) delayWithin(l limits, slack time.Duration) (delay time.Duration, ok bool) {
	delay = m.jittered()
	if l.deadline.IsZero() {
		return delay, true
	}
	spare := time.Until(l.deadline) - slack
	return min(delay, spare), spare >= min(delay, defaultDelay)
}

// delayFor is delayWithin for a task as it is. It asks the Inspector only where that
// can make a difference.
func (m *middleware) delayFor(ctx context.Context, a *attempt) (delay time.Duration, ok bool) {
	delay, ok = m.delayWithin(a.limits, a.slack)
	if ok || m.inspector == nil || a.limits.exact {
		return delay, ok
	}
	id, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	answer := make(chan limits, 1)
	go func() {
		if l, err := m.inspect(queue, id); err == nil {
			answer <- l
		}
		close(answer)
	}()
	select {
	case l, known := <-answer:
		if !known {
			break
		}
		a.limits = l
		return m.delayWithin(a.limits, a.slack)
	case <-time.After(inspectTimeout):
	case <-ctx.Done():
	}
	return delay, false
}

// inspectTimeout is how long a busy task waits for the Inspector's reply.
const inspectTimeout = 500 * time.Millisecond
