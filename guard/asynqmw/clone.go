package asynqmw

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
)

// putBack enqueues a clone of the task, to be tried soon.
//
// The clone's id follows from the task's. If an earlier request got through
// although its reply was lost, or this attempt is repeated because the task
// could not be revoked, the id is taken: the clone is there, and all is well.
func (m *middleware) putBack(ctx context.Context, a *attempt) error {
	id, ok := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	if !ok {
		return errors.New("the context comes from no asynq server")
	}
	retried, _ := asynq.GetRetryCount(ctx)
	maxRetry, _ := asynq.GetMaxRetry(ctx)
	opts := append(limits(ctx, a.began),
		asynq.TaskID(cloneID(id)),
		asynq.Queue(queue),
		asynq.MaxRetry(maxRetry-retried),
		asynq.ProcessIn(m.jittered()),
	)
	clone := asynq.NewTaskWithHeaders(a.task.Type(), a.task.Payload(), a.task.Headers(), opts...)
	_, err := m.client.EnqueueContext(ctx, clone)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return nil
	}
	return err
}

// limits recovers the task's Timeout or Deadline from the end of an attempt's
// context. Timeouts are whole seconds from the start of the attempt, which was
// just before began; Deadlines are whole seconds of the clock, as is the end of
// an attempt with both.
func limits(ctx context.Context, began time.Time) []asynq.Option {
	end, ok := ctx.Deadline()
	switch {
	case !ok:
		return nil
	case end.Nanosecond() == 0:
		return []asynq.Option{asynq.Deadline(end)}
	}
	timeout := end.Sub(began).Truncate(time.Second) + time.Second
	return []asynq.Option{asynq.Timeout(timeout)}
}

// cloneMark stands between the id of a task and the number of its clone.
const cloneMark = "~busy"

// cloneID returns the id of the clone of task id, which may be a clone itself.
func cloneID(id string) string {
	original, n := origin(id)
	return fmt.Sprintf("%s%s%d", original, cloneMark, n+1)
}

// origin returns the id of the task that id was cloned from, and how many clones
// came between.
func origin(id string) (original string, n int) {
	i := strings.LastIndex(id, cloneMark)
	if i <= 0 {
		return id, 0
	}
	n, err := strconv.Atoi(id[i+len(cloneMark):])
	if err != nil || n < 1 {
		return id, 0
	}
	return id[:i], n
}
