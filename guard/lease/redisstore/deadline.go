package redisstore

import (
	"sync/atomic"
	"time"
)

// deadlineTimer is a channel that is closed at a deadline. It is reused, by one
// caller at a time, and allocates only after a deadline has passed.
type deadlineTimer struct {
	done  chan struct{}
	timer *time.Timer
}

// set returns the channel for the next deadline.
func (t *deadlineTimer) set(deadline time.Time) <-chan struct{} {
	d := time.Until(deadline)
	if t.timer != nil {
		t.timer.Reset(d)
		return t.done
	}
	done := make(chan struct{})
	t.done, t.timer = done, time.AfterFunc(d, func() { close(done) })
	return done
}

// stop ends the deadline that set began.
func (t *deadlineTimer) stop() {
	if !t.timer.Stop() {
		t.done, t.timer = nil, nil // it fired
	}
}

// callCtx is the context of a round trip, without the timer that the standard ones
// have: done is closed by its owner.
type callCtx struct {
	deadline time.Time // zero: none
	done     <-chan struct{}
	ended    error // what Err returns then

	derived atomic.Bool // it may have contexts below it, whose goroutines refer to it
}

// Deadline implements context.Context.
func (c *callCtx) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done implements context.Context.
func (c *callCtx) Done() <-chan struct{} { return c.done }

// Value implements context.Context. There are none. Package context asks before it makes
// a context below.
func (c *callCtx) Value(any) any {
	c.derived.Store(true)
	return nil
}

// Err implements context.Context.
func (c *callCtx) Err() error {
	select {
	case <-c.done:
		return c.ended
	default:
		return nil
	}
}
