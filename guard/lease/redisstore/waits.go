package redisstore

import (
	"context"
	"sync"
	"time"
)

// deadlineTimer is a channel that is closed at a deadline. It is used again and again,
// by one at a time: as long as no deadline is missed it costs no memory.
type deadlineTimer struct {
	done  chan struct{}
	timer *time.Timer
}

// set returns the channel for the next deadline.
func (a *deadlineTimer) set(deadline time.Time) <-chan struct{} {
	d := time.Until(deadline)
	if a.timer != nil {
		a.timer.Reset(d)
		return a.done
	}
	done := make(chan struct{})
	a.done, a.timer = done, time.AfterFunc(d, func() { close(done) })
	return done
}

// stop ends what set began.
func (a *deadlineTimer) stop() {
	if !a.timer.Stop() {
		a.done, a.timer = nil, nil // it went off
	}
}

// hereCtx is the context of a call that only its deadline ends.
type hereCtx struct {
	deadline time.Time
	done     <-chan struct{}
}

func (c hereCtx) Deadline() (time.Time, bool) { return c.deadline, true }
func (c hereCtx) Done() <-chan struct{}       { return c.done }
func (c hereCtx) Value(any) any               { return nil }

func (c hereCtx) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// waits keeps timers and channels for those who wait for a batch. They are a
// batcher's own, so that one that lives in a synctest bubble lends none to the
// world outside.
type waits struct {
	timers, channels sync.Pool
}

func (w *waits) timer(d time.Duration) *time.Timer {
	if t, ok := w.timers.Get().(*time.Timer); ok {
		t.Reset(d)
		return t
	}
	return time.NewTimer(d)
}

// freeTimer stops t. What it may have sent is gone with that (Go 1.23).
func (w *waits) freeTimer(t *time.Timer) {
	t.Stop()
	w.timers.Put(t)
}

func (w *waits) channel() chan struct{} {
	if c, ok := w.channels.Get().(chan struct{}); ok {
		return c
	}
	return make(chan struct{}, 1)
}

// freeChannel takes c back when its one message was received: then nobody else
// knows it.
func (w *waits) freeChannel(c chan struct{}) { w.channels.Put(c) }
