package guard

import (
	"context"
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
)

// firstPause is the pause after a failed round; see [backoff.Pause].
const firstPause = 10 * time.Millisecond

// ErrStepDown is for fn of [Guard.Lead] to return: the next in the queue gets the key,
// and Lead campaigns again after a pause.
var ErrStepDown = errors.New("leader steps down")

// OnLeadError lets [Guard.Lead] go on after an error of fn: f is called with it, on
// Lead's goroutine, when the key has been given back. If f returns true, Lead
// campaigns again after a pause, in which other processes can lead; if false, Lead
// returns the error. Without OnLeadError the first error of fn ends Lead.
func OnLeadError(f func(error) (again bool)) Option {
	return option(func(o *options) {
		if f == nil {
			o.wrong = errors.New("OnLeadError was given a nil function")
		}
		o.onLeadError = f
	})
}

// Lead campaigns for key until it holds it, however long that takes, and runs
// fn as the leader. If the lease is lost, or MaxHold ends the term, fn's context
// is cancelled and Lead campaigns again once fn has returned; so it does after ErrRevoked, and, with
// back-off up to the TTL, while the store is down. The guard's Wait is not
// heeded. After ErrReplaced, also of a Lead that waited, it campaigns again at the end of
// the queue, without Replace: the latest leads, and those before it stand by.
//
// Lead also campaigns again if fn returns [ErrStepDown], or an error for which
// [OnLeadError] says so: after 10 ms, and after twice the pause each time a term was
// shorter than the TTL, up to the TTL.
//
// [Guard.Shutdown] ends fn's context with cause ErrClosed at once. Lead returns fn's
// result if fn returned while still leading; else the cause of ctx's end, ErrClosed
// after Shutdown, together with an error of fn's own, or ErrInvalidKey.
func (g *Guard) Lead(ctx context.Context, key string, fn func(context.Context) error) error {
	mustHave(fn != nil)
	g = g.With(Forever())
	for failures := 0; ; {
		t := term{fn: fn}
		res := g.do(ctx, opLead, key, t.run)
		longest := g.opts.ttl
		switch {
		case t.closed && res.kept:
			return closedTerm(key, res.err)
		case res.kept:
			if ctx.Err() != nil || !g.leadsAgain(res.err) {
				return res.err
			}
			if t.took >= g.opts.ttl {
				failures = 0
			}
		case errors.Is(res.err, ErrInvalidKey) && !res.ran:
			return res.err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(res.err, ErrReplaced): // two leaders under Replace would depose each other for ever
			g = g.With(noReplace)
			failures = 0
			continue
		case res.ran:
			failures = 0
			continue
		case errors.Is(res.err, ErrClosed):
			return res.err
		default:
			longest = min(longest, time.Second)
		}
		failures++
		g.family.pause(ctx, backoff.Pause(failures, firstPause, longest))
	}
}

// term is one run as the leader.
type term struct {
	fn     func(context.Context) error
	took   time.Duration
	closed bool // Shutdown had ended its context when fn returned
}

func (t *term) run(ctx context.Context) error {
	began := time.Now()
	err := t.fn(ctx)
	t.took = time.Since(began)
	t.closed = errors.Is(context.Cause(ctx), ErrClosed)
	return err
}

// leadsAgain reports whether Lead goes on after err of fn.
func (g *Guard) leadsAgain(err error) bool {
	return errors.Is(err, ErrStepDown) || err != nil && g.opts.onLeadError != nil && g.opts.onLeadError(err)
}

// closedTerm is the result of a leader that Shutdown stopped. err is fn's; that its
// context had ended adds nothing.
func closedTerm(key string, err error) error {
	if errors.Is(err, ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, ErrStepDown) {
		err = nil
	}
	return &Error{Op: "lead", Key: key, Kind: ErrClosed, Err: err}
}

// pause returns after d, and at once when ctx ends or Shutdown begins.
func (f *family) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-f.closing:
	}
}
