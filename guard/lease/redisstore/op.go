package redisstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// op is one command of the protocol under way. Its caller waits on done; only
// the flusher that sends it touches the command before that.
type op struct {
	redis.Cmd

	script *script // nil: a plain command
	key    string  // says which node serves it
	done   chan struct{}
	acked  int // replicas that have it, where that was asked

	// Set by the caller.
	deadline   time.Time // of its context; zero if it has none
	unanswered error     // it stopped waiting; nothing else here may be read then

	flight *flight // guarded by batcher.mu; nil while in the queue

	// A script's arguments, as pointers into the op itself: a text or a number by
	// itself would be an allocation each. The lease's name is an exception, so
	// that a hook of the user's that prints commands shows what it is about.
	args    [12]any
	names   names
	texts   [3]string
	numbers [3]int64
}

// NoRetry keeps go-redis from sending a command again when the reply is lost:
// the second run would speak of the effects of the first.
func (*op) NoRetry() bool { return true }

// newOp prepares a plain command about key.
func newOp(key string, args ...any) *op {
	return &op{Cmd: *redis.NewCmd(context.Background(), args...), key: key}
}

// call prepares a script for the first keys of n, and its arguments: one or two
// texts, numbers, and another text if it is not empty.
func (s *script) call(n names, keys int, texts []string, numbers []int64, last string) *op {
	o := &op{script: s, key: n.lease(), names: n}
	args := append(o.args[:0], "evalsha", s.arg, keys, o.key)
	for i := range o.names.all[1:keys] {
		args = append(args, &o.names.all[1+i])
	}
	for i := range copy(o.texts[:], texts) {
		args = append(args, &o.texts[i])
	}
	for i := range copy(o.numbers[:], numbers) {
		args = append(args, &o.numbers[i])
	}
	if last != "" {
		o.texts[2] = last
		args = append(args, &o.texts[2])
	}
	o.Cmd = *redis.NewCmd(context.Background(), args...)
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
	o.Cmd = *redis.NewCmd(context.Background(), args...)
}

// again makes an answered command ready to be sent anew.
func (o *op) again() {
	o.Cmd = *redis.NewCmd(context.Background(), o.Args()...)
	o.flight = nil
}
