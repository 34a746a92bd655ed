package record

import (
	"context"
	"sync/atomic"
	"time"
)

// Run is a run that goes on. A log that lets runs mark themselves done finds it in
// fn's context.
type Run struct {
	Record
	Log   Log
	Outer *Run // the run around it, of any log; nil for none

	Retain time.Duration // how long a finished record is kept

	// Sealed is set by a log when the run's own transaction decides its outcome.
	Sealed atomic.Bool

	// Open is set by a log, and reports whether such a transaction goes on.
	Open atomic.Pointer[func(context.Context) bool]
}

type runKey struct{}

// WithRun returns a context of r; of none if r is nil.
func WithRun(ctx context.Context, r *Run) context.Context {
	return context.WithValue(ctx, runKey{}, r)
}

// RunOf returns the innermost run that ctx comes from, nil if there is none.
func RunOf(ctx context.Context) *Run {
	r, _ := ctx.Value(runKey{}).(*Run)
	return r
}
