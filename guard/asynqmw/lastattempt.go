package asynqmw

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jobguard/jobguard/guard"
)

// lastAttempt deals with a task that could not have its key for the reason
// cause, when it has no retry left: then asynq archives it whatever error comes
// back, unless the error revokes it. So a clone takes its place; and without a
// client, or while none can be enqueued, the task waits here, as long as its
// Timeout lets it.
//
// After a shutdown of the guard it waits in vain, and that is as well: the
// server's own shutdown puts tasks that are still running back into the queue.
func (m *middleware) lastAttempt(ctx context.Context, a *attempt, g *guard.Guard, cause error) error {
	for {
		// Once ctx has ended asynq has decided about the task, and may have put it
		// back itself. In the moment between the two a clone can come on top: the
		// task then runs twice, though not at once.
		if ctx.Err() != nil {
			return stuck(cause)
		}
		until := a.giveUp
		if m.client != nil {
			err := m.putBack(ctx, a)
			if err == nil {
				return &settled{how: "replaced by a clone", cause: cause, revoke: true}
			}
			cause = fmt.Errorf("%w; and a clone could not be enqueued: %w", cause, err)
			if next := time.Now().Add(cloneInterval); until.IsZero() || next.Before(until) {
				until = next
			}
		}
		if !a.giveUp.IsZero() && !time.Now().Before(a.giveUp) {
			return stuck(cause)
		}
		ran, err := a.do(ctx, g, until)
		if ran {
			return ended(err)
		}
		if final, outcome := m.judge(err); final {
			return outcome
		}
		cause = err
		rest(ctx, a.giveUp) // the store may be down, or the guard shut down
	}
}

// stuck is the end of a last attempt that could not have its key in time. It
// is no deferral, since asynq archives the task: the ErrorHandler shall know.
func stuck(cause error) error {
	return fmt.Errorf("asynqmw: the last attempt waited in vain for its key: %w", cause)
}

// cloneInterval is how often a clone is tried that could not be enqueued.
const cloneInterval = time.Second

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
