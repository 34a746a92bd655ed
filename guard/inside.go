package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine/keep"
)

// Fence returns the fencing token of the innermost run that ctx comes from.
// Tokens of a key only ever grow, so a resource that remembers the highest it
// has seen can refuse all earlier holders. ok is false outside a run, when its
// lease is lost or over, under Limit or Shared, and when the run has several
// keys; see [FenceOf]. So it does not tell whether there is a run: [Ensure] does. Of a lost
// lease ctx.Err tells, asked afterwards.
func Fence(ctx context.Context) (token int64, ok bool) {
	c := innermost(ctx)
	if c == nil || len(c.holds()) > 1 || !c.one[0].Exclusive() || !c.one[0].Live() {
		return 0, false
	}
	return c.one[0].Fence, true
}

// FenceOf returns the fencing token under which ctx's runs hold key, if one of
// them holds it exclusively.
func FenceOf(ctx context.Context, key string) (token int64, ok bool) {
	h := innermost(ctx).find(func(h *keep.Hold) bool { return h.Key() == key && h.Exclusive() && h.Live() })
	if h == nil {
		return 0, false
	}
	return h.Fence, true
}

// Holding reports whether one of the runs that ctx comes from holds key, by
// the clocks as they are now.
func Holding(ctx context.Context, key string) bool {
	return innermost(ctx).find(func(h *keep.Hold) bool { return h.Key() == key && h.Live() }) != nil
}

// Ensure makes sure that every lease under which ctx's runs go on is proven for at least
// d from now on, and renews those that are not, on the calling goroutine. Call
// it before a step that must not be interrupted. d can be at most TTL − Margin
// less a round trip. The error is ErrLost if a lease is lost, its run has
// ended or ctx comes from no run, and ErrUnproven, with the store's error, if d cannot be proven though
// nothing is lost; ctx goes on then.
func Ensure(ctx context.Context, d time.Duration) error {
	c := innermost(ctx)
	if c == nil {
		return &Error{Op: "ensure", Kind: ErrLost, Err: errors.New("the context comes from no run")}
	}
	for r := c; r != nil; r = r.outer() {
		for _, h := range r.holds() {
			if r != c && h.Over() {
				continue // ctx was leaked out of that run
			}
			if err := ensure(ctx, h, d); err != nil {
				return err
			}
		}
	}
	return nil
}

func ensure(ctx context.Context, h *keep.Hold, d time.Duration) error {
	err := h.Ensure(ctx, d)
	left := h.TrustLeft()
	if left > 0 && left >= d {
		return nil
	}
	e := &Error{Op: "ensure", Key: h.Key(), Fence: h.Fence, Kind: ErrUnproven}
	switch why := h.Cause(); {
	case why != nil:
		e.Kind, e.Err = ErrLost, why
	case left == 0:
		e.Kind, e.Err = ErrLost, errors.New("the run has ended")
	case err != nil:
		e.Err = fmt.Errorf("%v proven, %v wanted: %w", left, d, err)
	default:
		e.Err = fmt.Errorf("%v proven, %v wanted, with a TTL of %v", left, d, h.TTL())
	}
	return e
}
