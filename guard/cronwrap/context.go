package cronwrap

import (
	"context"
	"time"
)

// run is what the context of a job carries.
type run struct {
	name string
	tick time.Time
}

type runKey struct{}

func withRun(ctx context.Context, name string, tick time.Time) context.Context {
	return context.WithValue(ctx, runKey{}, run{name, tick})
}

// Tick returns the scheduled time of the run that ctx comes from, in the location of
// its cron, to the microsecond; the zero time if it comes from none. It is the same
// in all replicas and whenever the run begins: a backfilled tick has the time at
// which it should have run. With guard.Key it names what the run makes, so that a
// repeated run finds what the first one made.
func Tick(ctx context.Context) time.Time {
	r, _ := ctx.Value(runKey{}).(run)
	return r.tick
}

// Name returns the name of the job that ctx comes from; "" if it comes from none.
func Name(ctx context.Context) string {
	r, _ := ctx.Value(runKey{}).(run)
	return r.name
}
