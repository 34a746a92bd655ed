package asynqmw

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/internal/option"
)

// Option configures [New].
type Option = option.Option[options]

type set = option.Func[options]

type options struct {
	policy Policy
	rest   time.Duration         // the least that a deferred task rests
	redis  redis.UniversalClient // asynq's; nil without WithRedis
	noKey  func(ctx context.Context, taskType string)
}

// Policy is what becomes of a task whose key is held by another run. With Skip and
// Discard that can be an earlier attempt of the same task, which asynq gave up: if that
// one fails, the task is lost.
type Policy int

// The policies.
const (
	Defer   Policy = iota // put back into its queue, to be tried again; no retry is used up, no failure counted. The default
	Skip                  // done, as if its handler had succeeded
	Discard               // deleted, whatever its Retention
)

// OnBusy sets the [Policy]. Default [Defer].
func OnBusy(p Policy) Option {
	return set(func(o *options) error {
		if p < Defer || p > Discard {
			return fmt.Errorf("OnBusy %d is none of Defer, Skip and Discard", p)
		}
		o.policy = p
		return nil
	})
}

// WithRedis gives the middleware a connection to the Redis of the server: tasks of one
// key and queue run back to back and in order, and a task that asynq would archive as it
// has no retry left makes way for a clone. It costs two Redis scripts a task.
// [Middleware.Close] closes it.
func WithRedis(conn asynq.RedisConnOpt) Option {
	return set(func(o *options) error {
		if conn == nil {
			return errors.New("WithRedis: the RedisConnOpt is nil")
		}
		client, ok := conn.MakeRedisClient().(redis.UniversalClient)
		if !ok {
			return fmt.Errorf("WithRedis: a %T makes no Redis client", conn)
		}
		o.redis = client
		return nil
	})
}

// OnKeyError has f called with the type of each task that is tried and has no valid key,
// on asynq's goroutine. Observer.KeyError of package otelguard counts them.
func OnKeyError(f func(ctx context.Context, taskType string)) Option {
	return set(func(o *options) error {
		if f == nil {
			return errors.New("OnKeyError: the function is nil")
		}
		o.noKey = f
		return nil
	})
}

var defaults = options{
	rest:  time.Second, // to asynq, which counts in whole seconds, less is none
	noKey: func(context.Context, string) {},
}
