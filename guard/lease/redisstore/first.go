package redisstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

// A first try is the request for a key that is probably free: three plain commands
// instead of a script, for a third of the server's time.
//
//	SET lease owner PX ttl NX   EXISTS queue   ZADD counter XX GT CH token t
//
// The token is a time that the server's clock has just passed. If that does not end in a
// lease with a token, or if others are in the queue, the script is sent. See
// docs/design/redisstore-first-try.md.
//
// Nor does a token count that was minted before the lease was there: while a Cluster moves
// the slot, SET may be sent on to the node where the lease would be, after ZADD.
//
// For several tokens the counter is raised to the last, and read before: the first is above
// what it was. Another key of the slot may have been given tokens in between, so none can
// be taken back.

// firstTry is the commands of a first try.
type firstTry struct {
	set    statusCmd
	queued intCmd
	before floatCmd // the counter; only for several tokens
	raised intCmd

	floor, last int64 // of the tokens
	setArgs     [6]any
	queuedArgs  [2]any
	beforeArgs  [3]any
	raisedArgs  [7]any
	all         [4]redis.Cmder
}

var firstTries = sync.Pool{New: func() any { return new(firstTry) }}

// statusCmd notes that a Cluster redirected it: then the commands after it may have been
// executed long before.
type statusCmd struct {
	redis.StatusCmd
	redirected bool
}

func (c *statusCmd) SetErr(err error) {
	c.redirected = c.redirected || redirection(err)
	c.StatusCmd.SetErr(err)
}

func (*statusCmd) NoRetry() bool { return true } // see op

type intCmd struct{ redis.IntCmd }

func (*intCmd) NoRetry() bool { return true }

type floatCmd struct{ redis.FloatCmd }

func (*floatCmd) NoRetry() bool { return true }

// newFirstTry prepares r, for the lease of n.
func newFirstTry(c *clock, slot int, n *names, r lease.AcquireRequest) *op {
	o := freshOp()
	o.first, o.clockSlot, o.key, o.names, o.kind = c, slot, n.lease(), n, acquiring
	o.texts[0], o.numbers[0], o.numbers[1] = r.Owner, millis(r.TTL), int64(min(max(1, r.TokenCount), maxAhead))
	return o
}

func (o *op) firstTwin() *op {
	return &op{first: o.first, clockSlot: o.clockSlot, key: o.key, names: o.names, texts: o.texts, numbers: o.numbers}
}

// commands returns the commands for o.
func (f *firstTry) commands(o *op) []redis.Cmder {
	f.floor = o.first.floor(o.clockSlot)
	f.last = f.floor + o.numbers[1] - 1
	f.setArgs = [...]any{"set", o.names.arg, &o.texts[0], "px", &o.numbers[0], "nx"}
	f.queuedArgs = [...]any{"exists", &o.names.all[1]}
	f.raisedArgs = [...]any{"zadd", &o.names.all[3], "xx", "gt", "ch", &f.last, "t"}
	ctx := context.Background()
	f.set.redirected = false
	f.set.StatusCmd = *redis.NewStatusCmd(ctx, f.setArgs[:]...)
	f.queued.IntCmd = *redis.NewIntCmd(ctx, f.queuedArgs[:]...)
	f.raised.IntCmd = *redis.NewIntCmd(ctx, f.raisedArgs[:]...)
	if f.last == f.floor {
		return append(f.all[:0], &f.set, &f.queued, &f.raised)
	}
	f.beforeArgs = [...]any{"zscore", &o.names.all[3], "t"}
	f.before.FloatCmd = *redis.NewFloatCmd(ctx, f.beforeArgs[:]...)
	return append(f.all[:0], &f.set, &f.queued, &f.before, &f.raised)
}

// firstReply is what came of a first try. Without free and tokens the script has to be
// sent, which finds what is there, its owner's own lease included.
type firstReply struct {
	free  bool // the key was, and the lease is there
	alone bool // nobody is in the queue

	token, last int64 // the tokens; 0: the counter was not below the last, or there was none
}

// finish stores the outcome in o.
func (f *firstTry) finish(o *op) {
	err := f.set.Err()
	if err != nil && err != redis.Nil { //nolint:errorlint // never wrapped
		o.SetErr(err)
		return
	}
	o.tried = firstReply{free: err == nil, alone: f.queued.Err() == nil && f.queued.Val() == 0}
	if f.floor == 0 || f.set.redirected || f.raised.Err() != nil || f.raised.Val() != 1 {
		return
	}
	switch before := int64(f.before.Val()); {
	case f.last == f.floor:
		o.tried.token, o.tried.last = f.floor, f.last
	case f.before.Err() == nil:
		o.tried.token, o.tried.last = max(before+1, f.floor), f.last
	}
}

// triesFirst reports whether to send r as a first try: it is a caller's own first
// attempt, which is short, for a key that is not known to be contended.
func (s *Store) triesFirst(ctx context.Context, slot int, r lease.AcquireRequest) bool {
	attempt, ok := ctx.(*lease.Attempt)
	return (ok && attempt.Timeout() == 0 || s.alwaysFirst) && r.Limit == lease.Exclusive && r.Ticket == 0 && (r.TokenCount <= 1 || r.KeepUnused) &&
		s.replicas == 0 && !s.contention.recent(slot) && s.clock.floor(s.clockSlot(slot)) > 0
}

// tryFirst sends r as a first try. If the reply is not Granted the script has to be sent,
// for a lease that is left without a token too.
func (s *Store) tryFirst(ctx context.Context, names *names, r lease.AcquireRequest) (reply lease.AcquireReply, left bool, _ error) {
	o := newFirstTry(s.clock, s.clockSlot(names.slot), names, r)
	defer o.free()
	s.router.do(ctx, false, o)
	if err := o.outcome(); err != nil {
		return reply, false, err
	}
	if o.resent {
		reply.Unanswered, _ = ctx.Deadline()
	}
	tried, sent := o.final().tried, o.final().sent
	switch {
	case !tried.free:
	case !tried.alone: // the key is for those in the queue
		_, err := s.releaseBy(ctx, releaseScript, releasing{names: names, owner: r.Owner, from: r.Place})
		return reply, false, err
	case tried.token > 0 && time.Since(sent) < maxTokenAge:
		reply.Granted, reply.Fence, reply.TokenCount, reply.Sent = true, tried.token, int(tried.last-tried.token+1), sent
		return reply, false, nil
	}
	return reply, tried.free, nil
}

// maxTokenAge is how long after a first try was sent its token counts. A request that was
// under way for longer may carry an older time than a token that a failover has lost.
const maxTokenAge = 25 * time.Millisecond

// maxAhead is how many µs tokens may be ahead of the server's clock.
const maxAhead = 10_000

// contendedFor is how long a slot counts as contended after its keys last were.
const contendedFor = 10 * time.Second

// contention remembers slots with keys that were held or waited for by others. Some
// slots share a memory: then a script is sent where a first try would have done.
type contention struct {
	base  time.Time
	until [1024]atomic.Uint32 // seconds since base
}

func (c *contention) now() uint32 { return uint32(time.Since(c.base)/time.Second) + 1 }

func (c *contention) note(slot int) {
	c.until[slot%len(c.until)].Store(c.now() + uint32(contendedFor/time.Second))
}

func (c *contention) recent(slot int) bool {
	until := c.until[slot%len(c.until)].Load()
	return until > 0 && until >= c.now()
}
