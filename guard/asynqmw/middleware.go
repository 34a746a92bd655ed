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

// New returns a middleware that runs each task under the key that key makes for
// it: mux.Use(asynqmw.New(g, key)). The server's configuration must have gone
// through [Configure].
//
// Where g says nothing else, the key is tried once (guard.Wait(0)), and observers
// are told the task's type as guard.Name; give g a Name of its own if types
// contain ids. The handler runs on asynq's goroutine, with a context that ends
// with asynq's and with the lease. A nil g or key panics.
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
	// A mux calls this function anew for every task: what is kept between tasks
	// is in m.
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

// firstWaitEnd is when a task stops waiting for its key as g says. One that is to
// make way for a clone stops early enough for that to arrive; so near to a Deadline
// there is none.
func (m *middleware) firstWaitEnd(a *attempt) time.Time {
	if m.client == nil || !a.last || a.limits.timeout == 0 {
		return a.giveUp
	}
	return a.giveUp.Add(-min(2*cloneTimeout, time.Until(a.giveUp)/2))
}

// judge says whether a task that did not get its key because of err is not to
// come back, and then what becomes of it.
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
	asSet   *guard.Guard // as g says, else tries once
	waits   *guard.Guard // stands in line until told to stop
	tryOnce *guard.Guard // tries once, whatever g says
}

// maxTypes bounds byType: types that contain ids must not fill the memory.
const maxTypes = 1000

func (m *middleware) guardsOf(taskType string) guards {
	if g, ok := m.byType.Load(taskType); ok {
		return g.(guards) //nolint:forcetypeassert // byType holds nothing else
	}
	once := m.guard.With(guard.Fallback(guard.Wait(0), guard.Name(taskType)))
	g := guards{asSet: once, waits: once.With(guard.Forever()), tryOnce: once.With(guard.Wait(0))}
	if m.types.Load() < maxTypes { // a few more may slip in beside each other: no harm
		if _, there := m.byType.LoadOrStore(taskType, g); !there {
			m.types.Add(1)
		}
	}
	return g
}

// isNotFound reports whether next is what a mux puts in the place of a handler
// that it does not have. Another middleware in between hides it.
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
	limits limits        // a guess, until an Inspector is asked
	slack  time.Duration // how long before a Deadline it must be due to have a try
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

// maxHeadstart is how long before its Timeout a task that still waits gives up:
// when the Timeout fires, asynq counts a failure itself and does not look at
// what comes back. A quarter of what the task still has, if that is less.
const maxGiveUpMargin = time.Second

// errWaitOver ends the wait at giveUp.
var errWaitOver = errors.New("the task's Timeout or Deadline is near")

// do runs the handler under the key and reports whether it did. It stops
// waiting for the key at until, unless that is zero, and when c has a clone.
func (a *attempt) do(ctx context.Context, g *guard.Guard, until time.Time, c *cloning) (ran bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The handler and the end of the wait race for begun, and whoever comes
	// second does nothing: a handler that runs is not cancelled by the timer.
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
