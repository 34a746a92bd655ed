package redisstore

import (
	"context"
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

// deadlineCtx is the context of a call that only its deadline ends.
type deadlineCtx struct {
	deadline time.Time
	done     <-chan struct{}
}

func (c deadlineCtx) Deadline() (time.Time, bool) { return c.deadline, true }
func (c deadlineCtx) Done() <-chan struct{}       { return c.done }
func (c deadlineCtx) Value(any) any               { return nil }

func (c deadlineCtx) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
