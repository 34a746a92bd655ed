package cronwrap

import (
	"context"
	"time"
)

// run is what the context of a job carries.
type run struct {
	name    string
	tick    time.Time
	attempt int
}

type runKey struct{}

func withRun(ctx context.Context, r run) context.Context {
	return context.WithValue(ctx, runKey{}, r)
}

func runOf(ctx context.Context) run {
	r, _ := ctx.Value(runKey{}).(run)
	return r
}

// Tick returns the scheduled time of the run that ctx comes from, in the location of
// its cron, to the microsecond; the zero time if it comes from none. It is the same
// in all replicas and whenever the run begins: a backfilled tick has the time at
// which it should have run. With guard.Key it names what the run makes, so that a
// repeated run finds what the first one made. Under [Runner.RunNow] it is the time of
// the call.
func Tick(ctx context.Context) time.Time { return runOf(ctx).tick }

// JobName returns the name of the job that ctx comes from; "" if it comes from none.
func JobName(ctx context.Context) string { return runOf(ctx).name }

// Attempt returns which run of its tick ctx comes from, from 1; 0 if it comes from no
// job. More than 1 only under [AtLeastOnce], after a run that did not come to its end.
func Attempt(ctx context.Context) int { return runOf(ctx).attempt }
