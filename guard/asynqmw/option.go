package asynqmw

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"
)

// Option configures [New].
type Option interface{ apply(*options) }

type option func(*options)

func (f option) apply(o *options) { f(o) }

type options struct {
	policy    Policy
	delay     time.Duration
	client    *asynq.Client    // nil: the last attempt waits on its worker
	inspector *asynq.Inspector // nil: limits are guessed

	wrong error // the last option that is out of bounds
}

// Policy is what becomes of a task whose key is held by another run. While the store
// is down or the guard is shut down every task is deferred, whatever the policy.
type Policy int

const (
	// Defer puts the task back into its queue, to be tried again soon. No retry
	// is used up and no failure counted. The default.
	Defer Policy = iota
	// Skip ends the task as if its handler had succeeded, since the holder does the
	// work. The holder can be an earlier attempt of the same task, which asynq gave
	// up at its Timeout or at a shutdown: if that one fails, the task is lost.
	Skip
	// Discard deletes the task: it is not kept, whatever its Retention. As with
	// Skip, the holder can be an earlier attempt of the same task.
	Discard
)

// OnBusy sets the [Policy]. Default [Defer].
func OnBusy(p Policy) Option {
	return option(func(o *options) {
		if p < Defer || p > Discard {
			o.wrong = fmt.Errorf("OnBusy %d is none of Defer, Skip and Discard", p)
		}
		o.policy = p
	})
}

// defaultDelay is the least that differs from no delay to asynq, which counts in
// whole seconds.
const defaultDelay = time.Second

// DeferFor sets how long a deferred task rests: a random time between d and 2d, so
// that tasks that met at one key do not meet again; less if a Deadline is near. d
// must be more than 0; default 1s. asynq drops fractions of a second, so the rest may
// be up to a second shorter, and looks for due tasks every DelayedTaskCheckInterval.
func DeferFor(d time.Duration) Option {
	return option(func(o *options) {
		if d <= 0 {
			o.wrong = fmt.Errorf("DeferFor %v is not more than 0s", d)
		}
		o.delay = d
	})
}

// WithClient lets a task whose last attempt finds the key busy be replaced by a clone
// of itself, instead of waiting on its worker. c must use the Redis of the server and must
// not be nil. Tasks with both Timeout and Deadline need [WithInspector] as well. See
// docs/behaviour/asynqmw.md, "How the last attempt is cloned".
func WithClient(c *asynq.Client) Option {
	return option(func(o *options) {
		if c == nil {
			o.wrong = errors.New("WithClient: the Client is nil")
		}
		o.client = c
	})
}

// WithInspector makes the middleware ask i for the limits of a task where it can only
// guess them: a clone then has the task's Timeout, Deadline and Retention, and a task
// with both Timeout and Deadline is not taken for one with a Deadline alone. It costs
// one request per clone. i must use the Redis of the server and must not be nil.
// While i does not answer no clone is made.
func WithInspector(i *asynq.Inspector) Option {
	return option(func(o *options) {
		if i == nil {
			o.wrong = errors.New("WithInspector: the Inspector is nil")
		}
		o.inspector = i
	})
}

// newOptions applies opts to the defaults, or returns which is wrong, and why.
func newOptions(opts []Option) (options, error) {
	o := options{delay: defaultDelay}
	for _, opt := range opts {
		if opt == nil {
			return o, errors.New("an Option is nil")
		}
		opt.apply(&o)
	}
	return o, o.wrong
}

func (o *options) jittered() time.Duration { return o.delay + rand.N(o.delay) }
