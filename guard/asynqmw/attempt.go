package asynqmw

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/backoff"
)

// attempt is one attempt of one task.
type attempt struct {
	task      *asynq.Task
	next      asynq.Handler
	mark      *mark // nil: the server is not configured
	id, queue string
	clone     string    // id of its clone, if there will be one
	name      string    // in the line, if it is put off: id, or on the last attempt clone
	giveUp    time.Time // when to stop waiting for the key; zero: never
	last      bool      // asynq archives whatever error it ends with
	key       string
	line      *line  // nil: there is no order
	rank      int64  // how many are before it in the line
	place     string // where it was in the line, if it has the turn
	contended bool   // others are known to wait for the key
	endWait   func() // see Middleware.startWait
	err       error  // what the handler returned
}

func newAttempt(ctx context.Context, task *asynq.Task, next asynq.Handler) *attempt {
	a := &attempt{task: task, next: next, mark: markOf(ctx), endWait: func() {}}
	a.id, _ = asynq.GetTaskID(ctx)
	a.queue, _ = asynq.GetQueueName(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		a.giveUp = deadline.Add(-min(maxGiveUpMargin, time.Until(deadline)/4))
	}
	retried, ok := asynq.GetRetryCount(ctx)
	maxRetry, _ := asynq.GetMaxRetry(ctx)
	a.name, a.clone, a.last = a.id, cloneID(a.id), ok && retried >= maxRetry
	if a.last {
		a.name = a.clone
	}
	return a
}

const (
	maxGiveUpMargin = time.Second // of giveUp before the Timeout: after that asynq ignores the returned error
	cloneInterval   = time.Second // between two requests for a clone
)

// errWaitOver ends the wait at giveUp.
var errWaitOver = errors.New("the task's Timeout or Deadline is near")

// do runs the handler under the key. over: it ran, or the task is not to come back, and
// err is the attempt's outcome; else err is why it did not get the key. It stops waiting
// for the key at until, unless that is zero.
func (m *Middleware) do(ctx context.Context, a *attempt, g *guard.Guard, until time.Time) (over bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer a.endWait()
	a.mark.waitsFor.Store(&a.key)
	// The handler and the end of the wait compete for begun, and the second has no
	// effect: the timer does not cancel a handler that runs.
	var begun atomic.Bool
	ran := false
	if !until.IsZero() {
		wait := time.AfterFunc(time.Until(until), func() {
			if begun.CompareAndSwap(false, true) {
				cancel(errWaitOver)
			}
		})
		defer wait.Stop()
	}
	err = g.Do(ctx, a.key, func(ctx context.Context) error {
		if !begun.CompareAndSwap(false, true) {
			return errWaitOver
		}
		a.endWait()
		a.mark.waitsFor.Store(nil)
		if ctx.Err() != nil { // asynq may have put the task back, to run elsewhere
			return context.Cause(ctx)
		}
		ran = true
		return m.run(ctx, a)
	})
	switch {
	case ran:
		return true, finished(err, a.err)
	case m.policy == Defer, !errors.Is(err, guard.ErrBusy):
		return false, err
	case m.policy == Discard:
		return true, &notRunError{how: "discarded", cause: err, revoke: true}
	}
	return true, nil
}

// run calls the handler, and the next task of the line: at its end, before the key is
// free, so that no other gets in between; and if others are known to wait, at its
// beginning too, if a worker may wait.
func (m *Middleware) run(ctx context.Context, a *attempt) error {
	if a.line != nil {
		if _, exclusive := guard.Fence(ctx); !exclusive && ctx.Err() == nil { // a lost lease has no token either
			m.several.Store(true)
		}
		if a.contended && m.waiters.Load() < a.mark.waiters {
			a.line.call(ctx, a, false)
		}
		defer a.line.call(ctx, a, true)
	}
	a.err = a.next.ProcessTask(ctx, a.task)
	return a.err
}

// deferred is the outcome of a task that did not run because of cause. A last attempt
// makes way for a clone; without a client, or while no clone can be enqueued, it waits
// on its worker, until the end of its time or of its server.
func (m *Middleware) deferred(ctx context.Context, a *attempt, cause error) error {
	delay := m.restBehind(ctx, a.rank)
	if !a.last {
		return &notRunError{how: "deferred", cause: cause, delay: delay}
	}
	g := m.guardOf(a)
	if m.policy == Defer { // else the wait ends when it finds the key busy
		g = g.With(guard.Forever())
	}
	for ctx.Err() == nil {
		until, refused := a.giveUp, error(nil)
		if m.client != nil {
			if refused = m.putBack(ctx, a, delay); refused == nil {
				return replaced(cause)
			}
			if next := time.Now().Add(cloneInterval); until.IsZero() || next.Before(until) {
				until = next
			}
		}
		late := !a.giveUp.IsZero() && !time.Now().Before(a.giveUp)
		if late { // one more try, since the key may be free by now
			g, until = g.With(guard.Wait(0)), time.Time{}
		}
		over, err := m.do(ctx, a, g, until)
		if over {
			return err
		}
		if cause = err; late {
			if refused != nil {
				cause = fmt.Errorf("%w; and a clone could not be enqueued: %w", cause, refused)
			}
			break
		}
		// The store may be down, or the guard shut down.
		_ = backoff.Sleep(ctx, backoff.Jitter(50*time.Millisecond, 250*time.Millisecond))
	}
	// If ctx has ended, asynq has handled the task, and may have put it back.
	return fmt.Errorf("asynqmw: the last attempt waited in vain for its key: %w", cause)
}

// restBehind draws how long a task with rank others before it rests, unless it is
// called earlier. Long lines do not come back all at once, and none after its Deadline.
func (m *Middleware) restBehind(ctx context.Context, rank int64) time.Duration {
	d := max(m.rest, min(time.Duration(rank)*100*time.Millisecond, time.Minute))
	if end, ok := ctx.Deadline(); ok {
		d = max(m.rest, min(d, time.Until(end)/4))
	}
	return backoff.Jitter(d, 2*d)
}
