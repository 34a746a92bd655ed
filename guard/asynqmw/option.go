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
	// is doing the work.
	Skip
	// Discard deletes the task: it is not kept, whatever its Retention.
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
// that tasks that met at one key do not meet again. Default 1s. asynq drops
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
// server. See "The last attempt" in the package documentation.
func WithClient(c *asynq.Client) Option {
	if c == nil {
		panic("guard: asynqmw.WithClient: nil Client")
	}
	return func(s *settings) { s.client = c }
}

func (s *settings) jittered() time.Duration { return s.delay + rand.N(s.delay) }
