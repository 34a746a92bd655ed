package asynqmw

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// lastAttempt deals with a task that could not have its key for the reason
// cause, and that is not to be deferred: it has no retry left, so that asynq
// archives it whatever error comes back, unless the error revokes it; or it would
// come back after its Deadline. A clone takes its place; and where there can be
// none, or while none can be enqueued, the task waits here, as long as its
// Timeout lets it.
//
// After a shutdown of the guard it waits in vain, and that is as well: the
// server's own shutdown puts tasks that are still running back into the queue.
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
		wait = g.asSet // to find it busy is what ends the wait
	}
	for {
		// Once ctx has ended asynq has decided about the task, and may have put it
		// back itself. A clone that is enqueued just then can come on top: the task
		// then runs twice, though not at once.
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
			// Not stopped yet: the headstart is there for a clone to arrive.
			if c.wait(ctx, shareOf(ctx, cloneTimeout)) {
				return replaced(cause)
			}
			return a.gaveUp(c.because(cause))
		}
		rest(ctx, a.giveUp) // the store may be down, or the guard shut down
	}
}

// replaced is the end of a task in whose place a clone is.
func replaced(cause error) error {
	return &notRunError{how: "replaced by a clone", cause: cause, revoke: true}
}

// stuck is the end of a task that could not have its key in time. It is no
// deferral if the task is archived: the ErrorHandler shall know. A task that has
// retries left and is known to have no time is archived too: asynq would only fail
// each of them, and forget who held the key. Where the Deadline is a guess the task
// is deferred: what ends may be its Timeout, and if not, asynq will see to it.
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

// shareOf returns d, or half the time that ctx has left if that is less.
func shareOf(ctx context.Context, d time.Duration) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(d, time.Until(deadline)/2)
	}
	return d
}

// rest keeps lastAttempt from spinning.
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
