package asynqmw

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

const (
	// cloneTimeout is how long an attempt waits for one request for a clone. The
	// request itself may hang for longer: go-redis does not end a read when its
	// context ends.
	cloneTimeout = time.Second
	// cloneInterval is the pause between two requests.
	cloneInterval = time.Second
)

// errCloned ends the wait of a task that has a clone.
var errCloned = errors.New("a clone has replaced the task")

// cloning enqueues a clone of a task on a goroutine of its own while the attempt
// waits on its worker: a Redis that hangs must not keep the task from its key, nor a
// request cost it its place in the queue. A nil cloning makes no request.
type cloning struct {
	cloned context.Context // ends when the clone is enqueued
	first  chan struct{}   // closed after the first request
	over   chan struct{}   // closed after the last request
	cancel context.CancelFunc
	err    atomic.Pointer[error] // of the latest request
}

// startCloning makes the first request, and more until one succeeds, the attempt
// ends, or the clone could not be due in time. Its goroutine ends with c.cancel.
func (m *middleware) startCloning(ctx context.Context, a *attempt) *cloning {
	cloned, arrived := context.WithCancel(context.WithoutCancel(ctx))
	ctx, cancel := context.WithCancel(ctx)
	c := &cloning{cloned: cloned, first: make(chan struct{}), over: make(chan struct{}), cancel: cancel}
	// A copy: the handler may write to the original.
	clone := asynq.NewTaskWithHeaders(a.task.Type(), bytes.Clone(a.task.Payload()), a.task.Headers())
	go func() {
		defer close(c.over)
		for try := 0; ctx.Err() == nil; try++ {
			err := m.putBack(ctx, a, clone)
			c.err.Store(&err)
			if err == nil {
				arrived()
			}
			if try == 0 {
				close(c.first)
			}
			if err == nil || errors.Is(err, errTooLate) {
				return
			}
			select {
			case <-time.After(cloneInterval):
			case <-ctx.Done():
			}
		}
	}()
	return c
}

// await waits for the first request, for at most d.
func (c *cloning) await(ctx context.Context, d time.Duration) {
	select {
	case <-c.first:
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// succeeded reports whether the clone is known to be enqueued.
func (c *cloning) succeeded() bool { return c != nil && c.cloned.Err() != nil }

// stop makes no further request and reports whether the clone is known to be
// enqueued. go-redis completes a request that was sent: see wait.
func (c *cloning) stop(ctx context.Context, d time.Duration) bool {
	if c != nil {
		c.cancel()
	}
	return c.wait(ctx, d)
}

// wait waits until the last request is over, for at most d, and reports whether the
// clone is known to be enqueued. The clone of a request that hangs can still arrive,
// and the task then runs twice, though not at once.
func (c *cloning) wait(ctx context.Context, d time.Duration) bool {
	if c == nil {
		return false
	}
	select {
	case <-c.over:
	case <-time.After(d):
	case <-ctx.Done():
	}
	return c.succeeded()
}

// because adds to cause why no clone was enqueued.
func (c *cloning) because(cause error) error {
	if c == nil {
		return cause
	}
	if err := c.err.Load(); err != nil && *err != nil {
		return fmt.Errorf("%w; and a clone could not be enqueued: %w", cause, *err)
	}
	return cause
}

// errTooLate is why no clone is enqueued shortly before a Deadline.
var errTooLate = errors.New("it would be due too near to the task's Deadline")

// putBack enqueues a clone of the task, to be tried soon. If its id is taken, an
// earlier request of this attempt got through and its reply was lost: no other task
// can have that id.
func (m *middleware) putBack(ctx context.Context, a *attempt, clone *asynq.Task) error {
	ctx, cancel := context.WithTimeout(ctx, cloneTimeout)
	defer cancel()
	id, ok := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	if !ok {
		return errors.New("the context comes from no asynq server")
	}
	l := a.limits
	if m.inspector != nil && !l.exact {
		var err error
		if l, err = m.inspect(queue, id); err != nil {
			return err
		}
	}
	delay, ok := m.delayWithin(l, a.slack)
	if !ok {
		return errTooLate
	}
	retried, _ := asynq.GetRetryCount(ctx)
	maxRetry, _ := asynq.GetMaxRetry(ctx)
	opts := append(l.options(),
		asynq.TaskID(cloneID(id, a.nonce)),
		asynq.Queue(queue),
		asynq.MaxRetry(maxRetry-retried),
		asynq.ProcessIn(delay),
	)
	_, err := m.client.EnqueueContext(ctx, clone, opts...)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return nil
	}
	return err
}

// cloneMark stands between the id of a task and the number of its clone.
const cloneMark = "~busy"

// newNonce returns the random part of the id of an attempt's clone: a TaskID that is
// used again must not meet a clone of the earlier task.
func newNonce() string { return strconv.FormatUint(rand.Uint64(), 36) }

// cloneID returns the id of the clone of task id, which may be a clone itself.
func cloneID(id, nonce string) string {
	original, n := origin(id)
	return fmt.Sprintf("%s%s%d-%s", original, cloneMark, n+1, nonce)
}

// origin returns the id of the task that id was cloned from, and the number of clones
// up to it.
func origin(id string) (original string, n int) {
	i := strings.LastIndex(id, cloneMark)
	if i <= 0 {
		return id, 0
	}
	number, nonce, _ := strings.Cut(id[i+len(cloneMark):], "-")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 {
		return id, 0
	}
	if _, err := strconv.ParseUint(nonce, 36, 64); err != nil {
		return id, 0
	}
	return id[:i], n
}
