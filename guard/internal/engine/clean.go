package engine

import (
	"context"
	"time"
)

// cleaner sends a release until it is answered, and once more after unknown,
// the deadline of an acquire whose outcome nobody knows: a request buried in
// some buffer may run after the first release, but the store refuses it after
// its deadline. It gives up when whatever is there has expired by itself.
//
// Between attempts it is a timer and no goroutine.
type cleaner struct {
	e        *Engine
	g        givingBack
	unknown  time.Time
	end      time.Time
	timeout  time.Duration // of one attempt
	failures int
}

// cleanUpLocked starts a cleaner for what lives at most life from now, or from
// unknown if that is later; failures tells how many attempts have failed already.
// It counts as work until it ends.
func (e *Engine) cleanUpLocked(g givingBack, unknown time.Time, life time.Duration, failures int) {
	c := &cleaner{e: e, g: g, unknown: unknown, end: time.Now().Add(life), timeout: min(life/3, time.Second), failures: failures}
	if unknown.After(time.Now()) {
		c.end = unknown.Add(life)
	}
	e.work++
	if failures > 0 {
		time.AfterFunc(backoff(failures, time.Second), c.attempt)
		return
	}
	go c.attempt()
}

func (c *cleaner) attempt() {
	buried := c.unknown.After(time.Now())
	ctx, cancel := context.WithTimeout(c.e.ctx, c.timeout)
	_, err := c.e.store.Release(ctx, c.g.request())
	cancel()
	var pause time.Duration
	switch {
	case err != nil:
		c.failures++
		pause = backoff(c.failures, time.Second)
	case buried:
		pause = max(0, time.Until(c.unknown)) + time.Millisecond
	default:
		c.e.done()
		return
	}
	if c.e.ctx.Err() != nil || time.Now().Add(pause).After(c.end) {
		c.e.done()
		return
	}
	time.AfterFunc(pause, c.attempt)
}
