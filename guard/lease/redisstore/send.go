package redisstore

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// sender runs commands that go to one node, and leaves each one's outcome in
// it. It may return long after ctx ended: not every client can be interrupted.
type sender func(ctx context.Context, ops []*op)

// sendTo returns how a batcher reaches the server: one command by itself, more
// in a pipeline. A Cluster client spreads a pipeline over the shards and
// follows redirections command by command.
func sendTo(client redis.UniversalClient) sender {
	return withScripts(func(ctx context.Context, ops []*op) {
		if len(ops) == 1 {
			run(ops[0], client.Process(ctx, ops[0]))
			return
		}
		pipe := client.Pipeline()
		for _, o := range ops {
			_ = pipe.Process(ctx, o) // only puts it in
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
	})
}

// run makes sure that a command that never left carries the reason.
func run(o *op, err error) {
	if err != nil && o.Err() == nil {
		o.SetErr(err)
	}
}

// withScripts sends what the server did not know once more, in full. Commands
// stand by themselves, so an answer to one never holds for another.
func withScripts(send sender) sender {
	return func(ctx context.Context, ops []*op) {
		send(ctx, ops)
		var again []*op
		for _, o := range ops {
			if o.unknown() {
				o.inFull()
				again = append(again, o)
			}
		}
		if again != nil {
			send(ctx, again)
		}
	}
}

// sendAcked returns how a batcher reaches one node and waits for its replicas:
// WAIT must travel on the connection of the writes it waits for, after them.
// node finds the node anew each time: clients of nodes that left a Cluster are
// closed, and their addresses may come back.
func sendAcked(node func(ctx context.Context, key string) (redis.UniversalClient, error), replicas int, timeout time.Duration) sender {
	return withScripts(func(ctx context.Context, ops []*op) {
		client, err := node(ctx, ops[0].key)
		if err != nil {
			for _, o := range ops {
				o.SetErr(err)
			}
			return
		}
		pipe := outlastWait(client, timeout).Pipeline()
		for _, o := range ops {
			_ = pipe.Process(ctx, o)
		}
		wait := newOp("", "wait", replicas, millis(timeout))
		_ = pipe.Process(ctx, wait)
		_, _ = pipe.Exec(ctx)

		acked, err := wait.Int()
		for _, o := range ops {
			o.acked = acked
			if err != nil && o.Err() == nil {
				o.SetErr(fmt.Errorf("asking for replicas' acknowledgement: %w", err))
			}
		}
	})
}

// outlastWait returns a client over the same connections that waits for replies
// longer than WAIT does.
func outlastWait(client redis.UniversalClient, wait time.Duration) redis.UniversalClient {
	const more = time.Second
	if node, ok := client.(*redis.Client); ok {
		if limit := node.Options().ReadTimeout; limit > 0 && limit < wait+more {
			return node.WithTimeout(wait + more)
		}
	}
	return client
}
