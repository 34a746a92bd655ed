package redisstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// sender sends commands and stores the outcome in each. It may return long after
// ctx ended: not every client can be interrupted.
type sender func(ctx context.Context, ops []*op)

// sendTo returns the sender of a client: one command by itself, more in a pipeline.
// A Cluster client spreads a pipeline over the shards and follows redirections
// command by command. With reuse no hook of the program can keep a command.
func sendTo(client redis.UniversalClient, reuse bool) sender {
	pipes := &sync.Pool{New: func() any { return client.Pipeline() }}
	return withScripts(func(ctx context.Context, ops []*op) {
		if len(ops) == 1 && ops[0].first == nil {
			setErr(ops[0], client.Process(ctx, ops[0]))
			return
		}
		pipe := pipes.Get().(redis.Pipeliner) //nolint:forcetypeassert // it has no others
		sendIn(ctx, pipe, ops, reuse)
		pipes.Put(pipe) // Exec has emptied it
	})
}

// sendIn sends ops in a pipeline.
func sendIn(ctx context.Context, pipe redis.Pipeliner, ops []*op, reuse bool) {
	var few [4]*firstTry // mostly enough
	tries := few[:0]
	for _, o := range ops {
		if o.first == nil {
			_ = pipe.Process(ctx, o) // only queues it
			continue
		}
		f := firstTries.Get().(*firstTry) //nolint:forcetypeassert // it has no others
		tries = append(tries, f)
		_ = pipe.BatchProcess(ctx, f.commands(o)...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, o := range ops {
		if o.first != nil {
			tries[0].finish(o)
			if reuse {
				firstTries.Put(tries[0])
			}
			tries = tries[1:]
		}
	}
}

// setErr stores the reason in a command that was not sent.
func setErr(o *op, err error) {
	if err != nil && o.Err() == nil {
		o.SetErr(err)
	}
}

// withScripts repeats, in full, scripts that the server does not have.
func withScripts(send sender) sender {
	return func(ctx context.Context, ops []*op) {
		send(ctx, ops)
		if again := inFull(ops); again != nil && ctx.Err() == nil {
			send(ctx, again)
		}
	}
}

// inFull prepares the scripts that the server does not have to be sent in full.
func inFull(ops []*op) (again []*op) {
	for _, o := range ops {
		if o.unknown() {
			o.inFull()
			again = append(again, o)
		}
	}
	return again
}

// sendAcked returns the sender to one node that waits for its replicas: WAIT must
// follow the writes on the same connection. asking: the node is about to get their slot.
func sendAcked(client redis.UniversalClient, replicas int, timeout time.Duration, asking bool) sender {
	return withScripts(func(ctx context.Context, ops []*op) {
		pipe := outlastWait(client, timeout).Pipeline()
		for _, o := range ops {
			if asking {
				_ = pipe.Process(ctx, newOp("", "asking"))
			}
			_ = pipe.Process(ctx, o)
		}
		wait := newOp("", "wait", replicas, millis(timeout))
		_ = pipe.Process(ctx, wait)
		_, _ = pipe.Exec(ctx)

		acked, err := wait.Int()
		for _, o := range ops {
			o.acked = acked
			if err != nil && o.Err() == nil {
				o.SetErr(fmt.Errorf("WAIT for replicas: %w", err))
			}
		}
	})
}

// outlastWait returns a client over the same connections whose ReadTimeout is longer
// than WAIT's.
func outlastWait(client redis.UniversalClient, wait time.Duration) redis.UniversalClient {
	const more = time.Second
	if node, ok := client.(*redis.Client); ok {
		if limit := node.Options().ReadTimeout; limit > 0 && limit < wait+more {
			return node.WithTimeout(wait + more)
		}
	}
	return client
}
