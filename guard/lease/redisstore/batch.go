package redisstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

const (
	// Measured: docs/design/redisstore-batching.md.
	maxFlushers = 4
	maxBatch    = 32
	maxHere     = 2
)

// batcher sends concurrent commands in one round trip (group commit): a command is
// sent at once if fewer than maxFlushers run, else with others by the next that
// returns. A flusher is a goroutine that ends when no command is unsent. See
// docs/design/redisstore-batching.md.
type batcher struct {
	send  sender
	reuse bool                           // commands may be used again
	fresh sender                         // over another connection, for resend; nil: nothing is sent again
	node  func(key string) *redis.Client // whose connections are swept; with fresh

	pool pool

	mu       sync.Mutex // never held while sending
	link     link
	sweeping bool
	unsent   unsent
	flights  []*flight        // with callers that wait
	flushers int              // without those whose callers all gave up
	here     int              // of them, how many are callers in sendHere
	timers   []*deadlineTimer // for sendHere, not in use
	later    later
	watch    watch
}

// flight is a batch on its way: one round trip, and others while that is not
// answered. It is the context of them: its deadline leaves the latest of its callers
// its time, and one that makes a connection the time for that; it is done when all
// have an answer or have given up. Then it no longer counts as a flusher: a hanging
// connection must not delay later commands.
type flight struct {
	callCtx
	gone chan struct{} // callCtx.done
	ops  []*op

	// Guarded by batcher.mu.
	counts  bool // as a flusher
	waiting int  // callers
	sends   int  // round trips under way
}

// flightLocked makes the flight of ops, whose time counts from now.
func (b *batcher) flightLocked(ops []*op, setup time.Duration) *flight {
	now, gone := time.Now(), make(chan struct{})
	f := &flight{
		callCtx: callCtx{deadline: now.Add(setup), done: gone, ended: context.Canceled},
		gone:    gone, ops: ops, waiting: len(ops),
	}
	b.flights = append(b.flights, f)
	for _, o := range ops {
		o.flight = f
		o.begins(b.unsent.silentSince(o))
		if o.attempt != nil {
			b.watchLocked(o.deadline)
		}
		// expire ends the wait of a patient one. The socket has more time: a reply is not
		// read after its deadline even if it arrived before.
		if end := o.deadline.Add(o.patience()); o.deadline.IsZero() || f.deadline.IsZero() {
			f.deadline = time.Time{}
		} else if end.After(f.deadline) {
			f.deadline = end
		}
	}
	return f
}

// sendHere sends o on the caller's goroutine if no flight is under way but of one caller
// that does the same, and the node is near. If taken but not done, the connection did not
// answer and was given up, and o was submitted again. It returns by attempt's deadline, which the client obeys.
func (b *batcher) sendHere(attempt *lease.Attempt, o *op) (taken, done bool) {
	b.mu.Lock()
	if b.unsent.n > 0 || b.flushers > b.here || b.here == maxHere || !b.link.near() {
		b.mu.Unlock()
		return false, false
	}
	b.flushers++
	b.here++
	var timer *deadlineTimer
	if n := len(b.timers); n > 0 {
		timer, b.timers = b.timers[n-1], b.timers[:n-1]
	} else {
		timer = new(deadlineTimer)
	}
	doubt := b.link.doubt()
	ops, along := b.later.takeWith(o)
	b.mu.Unlock()

	o.sent = time.Now()
	last, _ := attempt.Deadline()
	deadline := last
	if d := o.sent.Add(doubt); d.Before(last) && b.fresh != nil {
		deadline = d
	}
	missed := false
	defer func() { tellAll(along) }() // without the mutex
	defer func() {                    // also if a hook of the client panics
		timer.stop()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.timers = append(b.timers, timer)
		b.flushers--
		b.here--
		if missed {
			o.attempt, o.deadline, o.done = attempt, last, b.pool.channel()
			go b.resend(b.flightLocked(o.alone(), 0), doubt) // ends as flush does
		} else if o.answered() {
			b.link.answered(time.Since(o.sent))
			b.link.observe(time.Since(o.sent))
		}
		b.startLocked() // for commands that arrived meanwhile
	}()
	o.call = callCtx{deadline: deadline, done: timer.set(deadline), ended: context.DeadlineExceeded}
	b.send(&o.call, ops)
	missed = deadline.Before(last) && !o.answered() && !time.Now().Before(deadline)
	o.here = !missed && b.reuse && !o.call.derived.Load()
	return true, !missed
}

// submit starts sending the commands; wait waits for the replies.
func (b *batcher) submit(ctx context.Context, ops ...*op) {
	deadline, _ := ctx.Deadline()
	attempt, _ := ctx.(*lease.Attempt)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range ops {
		o.deadline, o.done, o.attempt = deadline, b.pool.channel(), attempt
	}
	if len(b.later.ops) > 0 {
		ops = append(b.later.take(), ops...)
	}
	b.submitLocked(ops)
}

func (b *batcher) submitLocked(ops []*op) {
	now := time.Now()
	for _, o := range ops {
		o.submitted = now
		b.unsent.add(o)
		b.watchLocked(b.unsent.due(o))
	}
	b.startLocked()
}

// wait returns when a submitted command is answered, or its time is over, or ctx is
// cancelled.
func (b *batcher) wait(ctx context.Context, o *op) {
	ended := ctx.Done
	if attempt, ok := ctx.(*lease.Attempt); ok {
		ended = attempt.Cancelled // expire ends its time
	}
	select {
	case <-o.done:
		b.pool.freeChannel(o.done)
	case <-ended():
		b.abandon(ctx.Err(), o)
	}
}

// abandon gives up waiting. A command that is still unsent is never sent.
func (b *batcher) abandon(why error, o *op) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-o.done: // answered meanwhile
	default:
		// An unsent one stays where it is, and take passes it over: to search for
		// each that is given up costs more than to send it.
		b.giveUpLocked(why, o)
	}
}

func (b *batcher) giveUpLocked(why error, o *op) {
	if o.flight == nil {
		o.begins(b.unsent.silentSince(o))
		o.unanswered = fmt.Errorf("not sent in time: %w", why)
		return
	}
	o.unanswered = fmt.Errorf("no answer in time: %w", why)
	b.leaveLocked(o.flight)
}

func (b *batcher) leaveLocked(f *flight) {
	f.waiting--
	if f.waiting > 0 {
		return
	}
	close(f.gone)
	b.flights = slices.DeleteFunc(b.flights, func(other *flight) bool { return other == f })
	if f.counts {
		f.counts = false
		b.flushers--
		b.startLocked()
	}
}

func (b *batcher) startLocked() {
	if b.unsent.n > 0 && b.flushers < maxFlushers {
		b.flushers++
		go b.flush()
	}
}

// flush sends commands until none is unsent, or until all callers of its flight
// have left.
func (b *batcher) flush() {
	var overdue *resendTimer
	for {
		b.mu.Lock()
		ops := b.unsent.take()
		if len(ops) == 0 {
			b.flushers--
			b.mu.Unlock()
			return
		}
		f := b.flightLocked(ops, b.link.setup())
		f.counts, f.sends = true, 1
		doubt, known := b.link.doubt(), b.link.known
		b.mu.Unlock()

		if overdue == nil && b.fresh != nil {
			overdue = new(resendTimer)
		}
		if overdue != nil {
			overdue.start(b, f, doubt)
		}
		sent := time.Now()
		took := b.timed(f, ops, known)
		if overdue != nil && !overdue.stop() {
			overdue = nil
		}

		b.mu.Lock()
		counts := f.counts
		f.counts = false
		if b.arrivedLocked(f, ops, ops, sent) {
			b.link.answered(time.Since(sent))
			if took > 0 {
				b.link.observe(took)
			}
		}
		b.mu.Unlock()
		if !counts {
			return // leaveLocked counted it out
		}
	}
}
