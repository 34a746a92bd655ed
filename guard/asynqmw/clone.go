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
	// cloneTimeout is how long others wait for one request of a cloning. The
	// request itself may hang for longer: go-redis does not end a read for a
	// context.
	cloneTimeout = time.Second
	// cloneInterval is the pause between two requests.
	cloneInterval = time.Second
)

// errCloned ends the wait of a task that has a clone.
var errCloned = errors.New("a clone has taken the task's place")

// cloning tries to enqueue a clone of a task, on a goroutine of its own beside
// the attempt that waits in place: a Redis that hangs must not keep the task from
// its key, nor an enqueue cost it its place in line. A nil cloning never does.
type cloning struct {
	cloned context.Context // ends when a clone is there
	first  chan struct{}   // closed after the first request
	over   chan struct{}   // closed when no request is in flight, nor will be
	cancel context.CancelFunc
	err    atomic.Pointer[error] // of the latest request
}

// startCloning begins with the first request. There is none once the clone could
// not be due in time.
func (m *middleware) startCloning(ctx context.Context, a *attempt) *cloning {
	cloned, arrived := context.WithCancel(context.WithoutCancel(ctx))
	ctx, cancel := context.WithCancel(ctx)
	c := &cloning{cloned: cloned, first: make(chan struct{}), over: make(chan struct{}), cancel: cancel}
	// A copy: a handler that runs in the end may write to its own.
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

// await waits for the first request, though not beyond d.
func (c *cloning) await(ctx context.Context, d time.Duration) {
	select {
	case <-c.first:
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// succeeded reports whether a clone is known to be there.
func (c *cloning) succeeded() bool { return c != nil && c.cloned.Err() != nil }

// stop makes an end of it and reports whether a clone is known to be there. go-redis
// brings a request that was sent to its end all the same: see settle.
func (c *cloning) stop(ctx context.Context, d time.Duration) bool {
	if c != nil {
		c.cancel()
	}
	return c.wait(ctx, d)
}

// settle waits until no request is in flight nor will be, though not beyond d, and
// reports whether a clone is known to be there. The clone of a request that hangs
// can still arrive, and the task then runs twice, though not at once.
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

// because adds to cause why there is no clone.
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

// putBack enqueues a clone of the task, to be tried soon. If an earlier request
// of this attempt got through although its reply was lost, the id is taken: the
// clone is there, and all is well. Nobody else's task can have that id.
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

// newNonce returns what makes the ids of one attempt's clone its own: a TaskID
// that is used again must not meet a clone of the task before.
func newNonce() string { return strconv.FormatUint(rand.Uint64(), 36) }

// cloneID returns the id of the clone of task id, which may be a clone itself.
func cloneID(id, nonce string) string {
	original, n := origin(id)
	return fmt.Sprintf("%s%s%d-%s", original, cloneMark, n+1, nonce)
}

// origin returns the id of the task that id was cloned from, and how many clones
// came between.
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
