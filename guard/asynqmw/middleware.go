package asynqmw

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
)

// New returns a middleware that runs each task under the key that key makes for it:
// mux.Use(asynqmw.New(g, key)). The server's configuration must have gone through
// [Configure].
//
// Where g sets no Wait, the key is tried once (guard.Wait(0)); where it sets no Name,
// observers see the task's type: set a Name if types contain ids. The handler runs on
// asynq's goroutine, with a context that ends with asynq's and with the lease. New
// panics if g or key is nil or an option is out of bounds.
func New(g *guard.Guard, key KeyFunc, opts ...Option) asynq.MiddlewareFunc {
	switch {
	case g == nil:
		panic("asynqmw: nil Guard")
	case key == nil:
		panic("asynqmw: nil KeyFunc")
	}
	o, err := newOptions(opts)
	if err != nil {
		panic("asynqmw: " + err.Error())
	}
	m := &middleware{options: o, guard: g, key: key}
	// A mux calls this function for every task: what is kept between tasks is in m.
	return func(next asynq.Handler) asynq.Handler {
		return asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
			return m.process(ctx, task, next)
		})
	}
}

type middleware struct {
	options
	guard *guard.Guard
	key   KeyFunc

	byType sync.Map     // task type -> guards
	types  atomic.Int64 // in byType
}

// process is one attempt of a task.
func (m *middleware) process(ctx context.Context, task *asynq.Task, next asynq.Handler) error {
	began := time.Now()   // before all that takes time: see guessLimits
	if isNotFound(next) { // there is nothing to guard, and perhaps no key to be made
		return next.ProcessTask(ctx, task)
	}
	if !configured(ctx) {
		return archive(ErrNotConfigured)
	}
	key, err := m.key(ctx, task)
	if err != nil {
		return keyError(fmt.Errorf("asynqmw: no key for a task of type %q: %w", task.Type(), err))
	}
	a := newAttempt(ctx, task, next, key, began)
	g := m.guardsOf(task.Type())
	ran, err := a.do(ctx, g.asSet, m.firstWaitEnd(a), nil)
	if ran {
		return ended(err, a.err)
	}
	if final, outcome := m.judge(err); final {
		return outcome
	}
	if !a.last {
		if delay, ok := m.delayFor(ctx, a); ok {
			return &notRunError{how: "deferred", cause: err, delay: delay}
		}
	}
	return m.lastAttempt(ctx, a, g, err)
}

// firstWaitEnd is when the wait that g sets ends. A task that can be replaced by a
// clone stops earlier, so that the clone can arrive; near a Deadline there is none.
func (m *middleware) firstWaitEnd(a *attempt) time.Time {
	if m.client == nil || !a.last || a.limits.timeout == 0 {
		return a.giveUp
	}
	return a.giveUp.Add(-min(2*cloneTimeout, time.Until(a.giveUp)/2))
}

// judge reports whether a task that did not get its key because of err is not to come
// back, and then its outcome.
func (m *middleware) judge(err error) (final bool, outcome error) {
	switch {
	case errors.Is(err, guard.ErrInvalidKey):
		return true, keyError(err)
	case errors.Is(err, guard.ErrBusy) && m.policy == Skip:
		return true, nil
	case errors.Is(err, guard.ErrBusy) && m.policy == Discard:
		return true, &notRunError{how: "discarded", cause: err, revoke: true}
	}
	return false, nil
}

// guards are the variants that tasks of one type run under.
type guards struct {
	asSet   *guard.Guard // g's Wait, else tries once
	waits   *guard.Guard // waits without limit
	tryOnce *guard.Guard // tries once
}

// maxTypes bounds byType, since types may contain ids.
const maxTypes = 1000

func (m *middleware) guardsOf(taskType string) guards {
	if g, ok := m.byType.Load(taskType); ok {
		return g.(guards) //nolint:forcetypeassert // byType holds nothing else
	}
	once := m.guard.With(guard.Fallback(guard.Wait(0), guard.Name(taskType)))
	g := guards{asSet: once, waits: once.With(guard.Forever()), tryOnce: once.With(guard.Wait(0))}
	if m.types.Load() < maxTypes { // concurrent tasks may add a few more
		if _, there := m.byType.LoadOrStore(taskType, g); !there {
			m.types.Add(1)
		}
	}
	return g
}

// isNotFound reports whether next is the handler of a mux for types that it has no
// handler for. Another middleware in between hides it.
func isNotFound(next asynq.Handler) bool {
	f, ok := next.(asynq.HandlerFunc)
	return ok && reflect.ValueOf(f).Pointer() == reflect.ValueOf(asynq.NotFound).Pointer()
}

// attempt is one attempt of one task.
type attempt struct {
	task   *asynq.Task
	next   asynq.Handler
	key    string
	nonce  string        // of its clone
	limits limits        // guessed, until an Inspector is asked
	slack  time.Duration // how long before a Deadline it must be due to be tried
	giveUp time.Time     // when to stop waiting for the key; zero: never
	last   bool          // asynq archives whatever error it ends with
	err    error         // what the handler returned
}

func newAttempt(ctx context.Context, task *asynq.Task, next asynq.Handler, key string, began time.Time) *attempt {
	a := &attempt{
		task: task, next: next, key: key, nonce: newNonce(),
		limits: guessLimits(ctx, began), slack: checkInterval(ctx) + pickUp,
	}
	if deadline, ok := ctx.Deadline(); ok {
		a.giveUp = deadline.Add(-min(maxGiveUpMargin, time.Until(deadline)/4))
	}
	retried, ok := asynq.GetRetryCount(ctx)
	maxRetry, _ := asynq.GetMaxRetry(ctx)
	a.last = ok && retried >= maxRetry
	return a
}

// maxGiveUpMargin is how long before its Timeout a task stops waiting, or a quarter
// of its time left, if that is less: when the Timeout passes, asynq counts a failure
// itself and ignores the returned error.
const maxGiveUpMargin = time.Second

// errWaitOver ends the wait at giveUp.
var errWaitOver = errors.New("the task's Timeout or Deadline is near")

// do runs the handler under the key and reports whether it did. It stops waiting for
// the key at until, unless that is zero, and when c has enqueued a clone.
func (a *attempt) do(ctx context.Context, g *guard.Guard, until time.Time, c *cloning) (ran bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The handler and the end of the wait compete for begun, and the second has no
	// effect: the timer does not cancel a handler that runs.
	var begun atomic.Bool
	end := func(cause error) {
		if begun.CompareAndSwap(false, true) {
			cancel(cause)
		}
	}
	if !until.IsZero() {
		wait := time.AfterFunc(time.Until(until), func() { end(errWaitOver) })
		defer wait.Stop()
	}
	if c != nil {
		stop := context.AfterFunc(c.cloned, func() { end(errCloned) })
		defer stop()
	}
	err = g.Do(ctx, a.key, func(ctx context.Context) error {
		if !begun.CompareAndSwap(false, true) {
			return errWaitOver
		}
		if c.stop(ctx, shareOf(ctx, cloneTimeout)) {
			return errCloned
		}
		// asynq may have put the task back meanwhile, to run elsewhere.
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		ran = true
		a.err = a.next.ProcessTask(ctx, a.task)
		return a.err
	})
	return ran, err
}
