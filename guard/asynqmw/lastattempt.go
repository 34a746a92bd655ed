package asynqmw

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// lastAttempt handles a task that did not get its key because of cause and cannot be
// deferred: asynq would archive it, or it would come back after its Deadline. A clone
// replaces it; without a client, or while no clone can be enqueued, it waits on its
// worker until its Timeout, or until the server's shutdown puts it back.
func (m *middleware) lastAttempt(ctx context.Context, a *attempt, g guards, cause error) error {
	var c *cloning
	if m.client != nil && a.last && ctx.Err() == nil {
		if _, ok := m.delayFor(ctx, a); ok {
			c = m.startCloning(ctx, a)
			defer c.cancel()
			c.await(ctx, shareOf(ctx, cloneTimeout))
		}
	}
	wait := g.waits
	if m.policy != Defer {
		wait = g.asSet // the wait ends when it finds the key busy
	}
	for {
		// After ctx has ended asynq has handled the task, and may have put it back
		// itself. A clone that is enqueued just then comes in addition: the task then
		// runs twice, though not at once.
		if ctx.Err() != nil {
			return a.gaveUp(c.because(cause))
		}
		until := a.giveUp
		over := !until.IsZero() && !time.Now().Before(until)
		if over { // one more try, since the key may be free by now
			wait, until = g.tryOnce, time.Time{}
		}
		if c.succeeded() {
			return replaced(cause)
		}
		ran, err := a.do(ctx, wait, until, c)
		switch {
		case ran:
			return ended(err, a.err)
		case c.succeeded():
			return replaced(cause)
		}
		if final, outcome := m.judge(err); final {
			return outcome
		}
		cause = err
		if over {
			// Without stop: giveUp leaves time for a clone to arrive.
			if c.wait(ctx, shareOf(ctx, cloneTimeout)) {
				return replaced(cause)
			}
			return a.gaveUp(c.because(cause))
		}
		rest(ctx, a.giveUp) // the store may be down, or the guard shut down
	}
}

// replaced is the outcome of a task that was replaced by a clone.
func replaced(cause error) error {
	return &notRunError{how: "replaced by a clone", cause: cause, revoke: true}
}

// gaveUp is the outcome of a task that did not get its key in time. An archived task
// is no deferral: the ErrorHandler is called. With retries left and a known Deadline
// it is archived too, as asynq would only fail its retries and lose the name of the
// holder. Where the Deadline is a guess it is deferred.
func (a *attempt) gaveUp(cause error) error {
	err := fmt.Errorf("asynqmw: the last attempt waited in vain for its key: %w", cause)
	switch {
	case a.last:
		return err
	case a.limits.exact:
		return archive(err)
	}
	return &notRunError{how: "deferred", cause: cause}
}

// shareOf returns d, or half the time until ctx's deadline if that is less.
func shareOf(ctx context.Context, d time.Duration) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(d, time.Until(deadline)/2)
	}
	return d
}

// rest pauses between two attempts.
func rest(ctx context.Context, giveUp time.Time) {
	d := 50*time.Millisecond + rand.N(200*time.Millisecond)
	if !giveUp.IsZero() {
		d = min(d, time.Until(giveUp))
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
