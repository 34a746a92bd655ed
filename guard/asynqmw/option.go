package asynqmw

import (
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"
)

// Option configures [New].
type Option func(*settings)

type settings struct {
	policy Policy
	delay  time.Duration
	client *asynq.Client // nil: the last attempt waits in place

	inspector *asynq.Inspector // nil: limits are guessed
}

// Policy is what becomes of a task whose key somebody else holds. It does not
// matter when the store is down or the guard shut down: then the task is
// deferred.
type Policy int

const (
	// Defer puts the task back into its queue, to be tried again soon. No retry
	// is used up and no failure counted. The default.
	Defer Policy = iota
	// Skip ends the task as if its handler had succeeded: whoever holds the key
	// is doing the work. That can be an earlier attempt of the same task, which
	// asynq gave up at its Timeout or at a shutdown: if that one fails after all,
	// the task is lost.
	Skip
	// Discard deletes the task: it is not kept, whatever its Retention. As with
	// Skip, an earlier attempt of its own can be what makes it busy.
	Discard
)

// OnBusy sets the [Policy]. Default [Defer].
func OnBusy(p Policy) Option {
	if p < Defer || p > Discard {
		panic("guard: asynqmw.OnBusy: unknown Policy")
	}
	return func(s *settings) { s.policy = p }
}

// defaultDelay is the least that asynq, which counts in whole seconds, can tell
// from at once.
const defaultDelay = time.Second

// DeferFor sets how long a deferred task rests: between d and 2d, at random, so
// that tasks that met at one key do not meet again; less if a Deadline is near.
// Default 1s. asynq drops
// fractions of a second, so it may be up to a second less, and it looks for
// tasks that are due every DelayedTaskCheckInterval.
func DeferFor(d time.Duration) Option {
	if d <= 0 {
		panic("guard: asynqmw.DeferFor: the delay must be positive")
	}
	return func(s *settings) { s.delay = d }
}

// WithClient lets a task whose last attempt finds the key busy make way for a
// clone of itself, instead of waiting in place. c must use the Redis of the
// server. Tasks with both Timeout and Deadline need [WithInspector] as well. See
// "The last attempt" in the package documentation.
func WithClient(c *asynq.Client) Option {
	if c == nil {
		panic("guard: asynqmw.WithClient: nil Client")
	}
	return func(s *settings) { s.client = c }
}

// WithInspector makes the middleware ask i for the limits of a task where it can
// only guess them: a clone then has the task's Timeout, Deadline and Retention,
// and a task with both Timeout and Deadline is not taken for one with a Deadline
// alone. It costs one request per clone. i must use the Redis of the server, and
// while it cannot be asked no clone is made.
func WithInspector(i *asynq.Inspector) Option {
	if i == nil {
		panic("guard: asynqmw.WithInspector: nil Inspector")
	}
	return func(s *settings) { s.inspector = i }
}

func (s *settings) jittered() time.Duration { return s.delay + rand.N(s.delay) }
