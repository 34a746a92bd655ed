package redisstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// op is one command of the protocol under way. Its caller waits on done; only
// the flusher that sends it touches the command before that.
type op struct {
	*redis.Cmd

	script *script // nil: a plain command
	key    string  // says which node serves it
	done   chan struct{}
	acked  int // replicas that have it, where that was asked

	// Set by the caller.
	deadline   time.Time // of its context; zero if it has none
	unanswered error     // it stopped waiting; nothing else here may be read then

	flight *flight // guarded by batcher.mu; nil while in the queue
}

// NoRetry keeps go-redis from sending a command again when the reply is lost:
// the second run would speak of the effects of the first.
func (*op) NoRetry() bool { return true }

// newOp prepares a plain command about key.
func newOp(key string, args ...any) *op {
	return &op{Cmd: redis.NewCmd(context.Background(), args...), key: key, done: make(chan struct{})}
}

// call prepares a script for its keys, the lease first, and its arguments.
func (s *script) call(keys []string, args ...any) *op {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, "evalsha", s.sha, len(keys))
	for i := range keys {
		all = append(all, keys[i])
	}
	o := newOp(keys[0], append(all, args...)...)
	o.script = s
	return o
}

// outcome is nil once the server answered with anything but an error.
func (o *op) outcome() error {
	if o.unanswered != nil {
		return o.unanswered
	}
	return o.Err()
}

// unknown tells whether the server does not have the script. Nothing of it ran.
func (o *op) unknown() bool {
	return o.script != nil && o.Err() != nil && redis.HasErrorPrefix(o.Err(), "NOSCRIPT")
}

// inFull makes the command ready to be sent again with the script's source.
func (o *op) inFull() {
	args := o.Args()
	args[0], args[1] = "eval", o.script.source
	o.Cmd = redis.NewCmd(context.Background(), args...)
}

// again makes an answered command ready to be sent anew.
func (o *op) again() {
	o.Cmd = redis.NewCmd(context.Background(), o.Args()...)
	o.done = make(chan struct{})
}
