package asynqmw

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"regexp"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
)

// putBack enqueues a clone of the task, with all its limits, due after delay. If its id
// is taken, an earlier request of this attempt got through and its reply was lost. One
// that arrives still later makes the task run twice, though not at once.
func (m *Middleware) putBack(ctx context.Context, a *attempt, delay time.Duration) error {
	// A copy: the handler may write to the original.
	clone := asynq.NewTaskWithHeaders(a.task.Type(), bytes.Clone(a.task.Payload()), a.task.Headers())
	result := bounded(ctx, func(ctx context.Context) *error {
		info, err := m.inspector.GetTaskInfo(a.queue, a.id)
		if err != nil {
			return &err
		}
		opts := []asynq.Option{
			asynq.TaskID(a.clone), asynq.Queue(a.queue), asynq.MaxRetry(info.MaxRetry - info.Retried),
			asynq.ProcessIn(delay), asynq.Timeout(info.Timeout), asynq.Retention(info.Retention),
		}
		if !info.Deadline.IsZero() {
			opts = append(opts, asynq.Deadline(info.Deadline))
		}
		if _, err = m.client.EnqueueContext(ctx, clone, opts...); errors.Is(err, asynq.ErrTaskIDConflict) {
			err = nil
		}
		return &err
	})
	if result == nil {
		return errors.New("asynq's Redis does not answer")
	}
	return *result
}

// ofClone matches the id of a clone: the original's, and a random part, since a TaskID
// that is used again must not meet a clone of the earlier task.
var ofClone = regexp.MustCompile(`^(.+)~busy-[0-9a-z]{13}$`)

// original returns the id of the task that id was cloned from, if it was.
func original(id string) string {
	if parts := ofClone.FindStringSubmatch(id); parts != nil {
		return parts[1]
	}
	return id
}

// cloneID returns an id for a clone of task id, which may be a clone itself.
func cloneID(id string) string {
	return original(id) + "~busy-" + strconv.FormatUint(rand.Uint64()|1<<63, 36)
}
