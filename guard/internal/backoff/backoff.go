// Package backoff spreads retries over time, so that many clients of one ailing
// server do not retry in step.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Pause is the pause after the n-th failure in a row, n from 1: first, doubling
// up to limit, less up to a half by chance.
func Pause(n int, first, limit time.Duration) time.Duration {
	d := first
	for ; n > 1 && d < limit; n-- {
		d *= 2
	}
	d = min(d, limit)
	return Jitter(d/2, d)
}

// Jitter returns a random duration in [lo, hi], lo if hi is less.
func Jitter(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(rand.Int64N(int64(hi-lo)+1))
}

// Sleep returns after d, or earlier with the cause of ctx's end.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
