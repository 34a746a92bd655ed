package guard

import (
	"context"
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
)

// firstPause is the pause after a failed round; see [backoff.Pause].
const firstPause = 10 * time.Millisecond

// Lead campaigns for key until it holds it, however long that takes, and runs
// fn as the leader. If the lease is lost, or MaxHold ends the term, fn's context
// is cancelled and Lead campaigns again once fn has returned; so it does, with
// back-off up to the TTL, while the store is down. The guard's Wait is not
// heeded.
//
// Lead returns fn's result if fn returned while still leading; else the cause
// of ctx's end, ErrClosed after Shutdown, or ErrInvalidKey.
func (g *Guard) Lead(ctx context.Context, key string, fn func(context.Context) error) error {
	mustHave(fn != nil)
	g = g.With(Forever())
	for failures := 0; ; {
		res := g.do(ctx, "lead", key, fn)
		switch {
		case res.kept, errors.Is(res.err, ErrInvalidKey) && !res.ran:
			return res.err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case res.ran:
			failures = 0
		case errors.Is(res.err, ErrClosed):
			return res.err
		default:
			failures++
			select {
			case <-time.After(min(g.opts.ttl, backoff.Pause(failures, firstPause, time.Second))):
			case <-ctx.Done():
			}
		}
	}
}
