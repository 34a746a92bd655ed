package asynqmw

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Option configures [New].
type Option interface{ apply(*options) }

type option func(*options)

func (f option) apply(o *options) { f(o) }

type options struct {
	policy Policy
	rest   time.Duration         // the least that a deferred task rests
	redis  redis.UniversalClient // asynq's; nil without WithRedis
	noKey  func(ctx context.Context, taskType string)

	wrong error // what is wrong with an option
}

// Policy is what becomes of a task whose key is held by another run. While the store
// is down or the guard is shut down every task is deferred, whatever the policy. With
// Skip and Discard the holder can be an earlier attempt of the same task, which asynq
// gave up at its Timeout or at a shutdown: if that one fails, the task is lost.
type Policy int

// The policies.
const (
	Defer   Policy = iota // put back into its queue, to be tried again; no retry is used up, no failure counted. The default
	Skip                  // done, as if its handler had succeeded
	Discard               // deleted, whatever its Retention
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

// WithRedis gives the middleware a connection to the Redis of the server. With it
// tasks of one key and queue run back to back and in order; and a task without a
// retry left makes way for a clone of itself when it cannot run, where asynq would
// archive it. It costs two Redis scripts a task. [Middleware.Close] closes it.
func WithRedis(conn asynq.RedisConnOpt) Option {
	return option(func(o *options) {
		if conn == nil {
			o.wrong = errors.New("WithRedis: the RedisConnOpt is nil")
			return
		}
		client, ok := conn.MakeRedisClient().(redis.UniversalClient)
		if !ok {
			o.wrong = fmt.Errorf("WithRedis: a %T makes no Redis client", conn)
			return
		}
		o.redis = client
	})
}

// OnKeyError has f called with the type of each task that is tried and has no valid key,
// on asynq's goroutine. Observer.KeyError of package otelguard counts them.
func OnKeyError(f func(ctx context.Context, taskType string)) Option {
	return option(func(o *options) {
		if f == nil {
			o.wrong = errors.New("OnKeyError: the function is nil")
		}
		o.noKey = f
	})
}

// newOptions applies opts to the defaults, or returns which is wrong, and why.
func newOptions(opts []Option) (options, error) {
	o := options{
		rest:  time.Second, // to asynq, which counts in whole seconds, less is none
		noKey: func(context.Context, string) {},
	}
	for _, opt := range opts {
		if opt == nil {
			return o, errors.New("an Option is nil")
		}
		opt.apply(&o)
	}
	return o, o.wrong
}
