package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

// op is one command. Its caller waits for done; until then only the flight that
// sends it uses the command.
type op struct {
	redis.Cmd

	script *script // nil: a plain command
	key    string  // determines the node
	done   chan struct{}
	told   func() // instead of done: nobody waits for it; called without the mutex
	acked  int    // replicas that acknowledged it, if asked
	kind   kind
	once   bool // not sent again without an answer: twice does more than once
	here   bool // sendHere sent it, and it is done: it is in no flight, and no hook has it

	// Set when it is submitted.
	submitted time.Time
	attempt   *lease.Attempt // its context, if that is one: expire ends the wait, not the caller
	deadline  time.Time      // of its context; zero if it has none

	first *clock     // it is a first try, with a token by this clock; then there is no request
	tried firstReply // its outcome

	clockSlot int // of first

	// If set, it is called when the command is sent by a patient attempt, with the
	// new deadline. It may change numbers.
	onSend func(deadline time.Time)

	unanswered error // why it was given up; then no other field may be read

	// Guarded by batcher.mu until done.
	flight *flight // nil while unsent
	over   bool    // done was sent
	answer *op     // the twin that was answered, if it is not the command itself
	resent bool    // twins were sent: more than one may take effect
	sent   time.Time

	// The script's arguments are pointers to these fields, which saves an allocation
	// each. Only the lease's name is a plain string, for hooks that print commands.
	self    [1]*op  // for sendHere
	call    callCtx // likewise
	request []any   // never changed; args' memory for a script
	args    [13]any
	names   *names
	texts   [3]string
	numbers [3]int64
}

// used are commands to be used again: half of what a run allocates would be theirs.
var used = sync.Pool{New: func() any { return new(op) }}

// freshOp returns an empty command.
func freshOp() *op { return used.Get().(*op) } //nolint:forcetypeassert // it has no others

// free gives o back, whose outcome has been read, if nothing else can refer to it.
func (o *op) free() {
	if o.here {
		*o = op{}
		used.Put(o)
	}
}

// NoRetry keeps go-redis from sending a command again when the reply is lost: the
// second reply would show the effects of the first run.
func (*op) NoRetry() bool { return true }

// newOp prepares a plain command that goes to the node of key.
func newOp(key string, args ...any) *op {
	return &op{Cmd: *redis.NewCmd(context.Background(), args...), key: key, request: args}
}

// call prepares a script with the first keys of n as KEYS, and as ARGV one or two
// texts, the numbers, and last if it is not empty.
func (s *script) call(n *names, keys int, texts []string, numbers []int64, last string) *op {
	o := freshOp()
	o.script, o.key, o.names = s, n.lease(), n
	args := append(o.args[:0], s.byDigest, s.arg, keys, n.arg)
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
	o.request = args
	o.Cmd = *redis.NewCmd(context.Background(), args...)
	return o
}

// twin is the same command, to be sent beside o: what is written to o meanwhile
// does not concern it.
func (o *op) twin() *op {
	if o.first != nil {
		return o.firstTwin()
	}
	return &op{Cmd: *redis.NewCmd(context.Background(), o.request...), script: o.script, key: o.key, request: o.request}
}

// alone returns o as a slice.
func (o *op) alone() []*op {
	o.self[0] = o
	return o.self[:]
}

// outcome is the error of the command; nil if the server answered without one.
func (o *op) outcome() error {
	if o.unanswered != nil {
		return o.unanswered
	}
	return o.final().Err()
}

// tell lets the caller know that o has its outcome.
func (o *op) tell() {
	if o.told != nil {
		go o.told()
		return
	}
	o.done <- struct{}{}
}

// patience is how long it may wait while the node answers nothing at all; 0 if its
// deadline stands.
func (o *op) patience() time.Duration {
	if o.attempt == nil {
		return 0
	}
	return o.attempt.Timeout()
}

// begins notes when the time of a patient command began, as it is sent now.
func (o *op) begins(at time.Time) {
	if o.patience() == 0 {
		return
	}
	o.deadline = o.attempt.Sent(at)
	if o.onSend != nil {
		o.onSend(o.deadline)
	}
}

// final is the command itself, or the twin that was answered in its place.
func (o *op) final() *op {
	if o.answer != nil {
		return o.answer
	}
	return o
}

// Slice returns the reply.
func (o *op) Slice() ([]any, error) { return o.final().Cmd.Slice() }

// Int64 returns the reply.
func (o *op) Int64() (int64, error) { return o.final().Cmd.Int64() }

// Text returns the reply.
func (o *op) Text() (string, error) { return o.final().Cmd.Text() }

// answered reports whether the server did what was asked, or said why not: after a
// redirection it did neither.
func (o *op) answered() bool {
	err := o.Err()
	if err == nil {
		return true
	}
	return isReply(err) && !redirection(err)
}

// unknown reports whether the server does not have the script. Then nothing ran.
func (o *op) unknown() bool {
	return o.script != nil && o.Err() != nil && redis.HasErrorPrefix(o.Err(), "NOSCRIPT")
}

// inFull prepares the command to be sent again with the script's source.
func (o *op) inFull() {
	args := append([]any{o.script.inFull, o.script.source}, o.request[2:]...)
	o.Cmd = *redis.NewCmd(context.Background(), args...)
}

// become gives o, which has its outcome, that of its twin, which was sent later.
func (o *op) become(twin *op) {
	if o.unanswered = twin.unanswered; o.unanswered == nil {
		o.answer = twin.final()
	}
	o.resent = o.resent || twin.resent
}
