package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

var _ lease.LaterReleaser = (*Store)(nil)

// A release for which no caller waits goes with the next request to its node, in the
// same round trip and on that caller's goroutine: sent by a goroutine of its own it
// would want a third thread beside Redis and its caller's. If there is no next request a
// timer sends it.
const (
	laterMost = time.Millisecond
	// maxLater of them wait. Each makes the caller that takes it along wait for its reply.
	maxLater = 8
)

// later is the commands of a batcher that wait for company. Guarded by batcher.mu.
type later struct {
	most  time.Duration // laterMost, but in tests
	ops   []*op
	timer *time.Timer
	armed bool
}

// sendLater has o sent soon. o.told is called when it has its outcome.
func (b *batcher) sendLater(o *op) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &b.later
	l.ops = append(l.ops, o)
	if b.unsent.n > 0 || b.flushers > b.here || len(l.ops) == maxLater {
		b.submitLocked(l.take()) // others are under way: it shares their round trips
		return
	}
	switch {
	case l.armed: // one that fires for nothing costs less than resetting it each time
	case l.timer == nil:
		l.timer = time.AfterFunc(l.most, b.laterDue)
	default:
		l.timer.Reset(l.most)
	}
	l.armed = true
}

// laterDue runs on the timer's goroutine.
func (b *batcher) laterDue() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.later.armed = false
	b.submitLocked(b.later.take())
}

func (b *batcher) hurry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.submitLocked(b.later.take())
}

// take removes all.
func (l *later) take() []*op {
	ops := l.ops
	l.ops = nil
	return ops
}

// takeWith removes all, to be sent before o.
func (l *later) takeWith(o *op) (all, along []*op) {
	if len(l.ops) == 0 {
		return o.alone(), nil
	}
	along = l.take()
	return append(along, o), along
}

var errCutOff = errors.New("the request that it went with was cut off")

// tellAll ends commands that were sent in sendHere with another one. What was not
// answered may have been executed.
func tellAll(ops []*op) {
	for _, o := range ops {
		if !o.answered() {
			o.unanswered = fmt.Errorf("%w: %w", errCutOff, o.Err())
		}
		o.told()
	}
}

// ReleaseLater implements [lease.LaterReleaser]: the release of a key that others want
// does not wait.
func (s *Store) ReleaseLater(r lease.ReleaseRequest, timeout time.Duration, done func(lease.ReleaseReply, error)) bool {
	names := s.names.of(s.prefix, r.Key)
	if r.Limit != lease.Exclusive || r.KeepClosed > 0 || r.Fence != r.LastFence || s.contention.recent(names.slot) {
		return false
	}
	b := s.router.laterTo()
	if b == nil {
		return false
	}
	attempt := lease.NewPatientAttempt(context.Background(), timeout)
	o := releaseFreeScript.call(names, 2, []string{r.Owner}, nil, "")
	o.attempt = attempt
	o.told = func() {
		attempt.End()
		reply, again, err := freed(o)
		if again {
			go func() { done(s.releaseAgain(r, timeout, o.resent)) }()
			return
		}
		s.inbox.released(r.Owner)
		if err != nil {
			err = fault(attempt, "release", err)
		}
		done(reply, err)
	}
	b.sendLater(o)
	return true
}

// releaseAgain is Release after a first request that found the key held or waited for by
// others.
func (s *Store) releaseAgain(r lease.ReleaseRequest, timeout time.Duration, resent bool) (lease.ReleaseReply, error) {
	attempt := lease.NewPatientAttempt(context.Background(), timeout)
	defer attempt.End()
	reply, err := s.Release(attempt, r)
	reply.Resent = reply.Resent || resent
	return reply, err
}

// Hurry implements [lease.LaterReleaser].
func (s *Store) Hurry() {
	if b := s.router.laterTo(); b != nil {
		b.hurry()
	}
}

// laterTo returns the batcher for what is sent later; nil if nothing is: on a Cluster, and
// where callers do not send for themselves.
func (r *router) laterTo() *batcher {
	if _, single := r.client.(*redis.Client); !single || !r.inline {
		return nil
	}
	return r.to(context.Background(), "", false)
}
