package cronwrap

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
)

// JobStatus is a job as [Runner.Jobs] lists it. Times are zero for what has not happened.
type JobStatus struct {
	Name string

	Last time.Time // the latest tick that was claimed, by any replica, as far as this process knows
	Next time.Time // the next tick; zero before cron is started
	Dead time.Time // the latest tick that MaxAttempts gave up, likewise; the store remembers it

	// Of the latest tick that ran in this process.
	Began    time.Time
	Duration time.Duration
	Err      error // what fn returned, or its panic
}

// Jobs lists the jobs of the Runner by name. It asks cron, and not the store.
func (r *Runner) Jobs() (all []JobStatus) {
	for _, e := range r.cron.Entries() {
		if j, ok := e.Job.(*job); ok && j.Runner == r {
			r.locked(func() { all = append(all, j.status) })
			if !e.Next.IsZero() {
				all[len(all)-1].Next = e.Next.Add(r.ahead())
			}
		}
	}
	slices.SortFunc(all, func(a, b JobStatus) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// RunNow runs the job of that name on the calling goroutine, and returns fn's error, its
// panic as a *PanicError, an error of guard.Do, or guard.ErrClosed after Shutdown. It
// waits for the key as long as the guard's Wait says, else until ctx ends. It is no tick:
// [Runner.Jobs] and [OnError] do not tell of it.
func (r *Runner) RunNow(ctx context.Context, name string) error {
	j, ok := r.find(name).Job.(*job)
	if !ok {
		return fmt.Errorf("cronwrap: there is no job %q", name)
	}
	if !r.begin() {
		return fmt.Errorf("cronwrap: job %q: %w", name, guard.ErrClosed)
	}
	defer r.work.End()
	tick := r.now().Truncate(time.Microsecond).In(j.schedule.location)
	ctx, begin, end := r.turn(ctx)
	defer end()
	return j.queue.Do(ctx, name, func(ctx context.Context) error {
		if !begin() {
			return guard.ErrClosed
		}
		return j.call(ctx, tick, 1)
	})
}

// saw notes what the store remembers, and warns of a claimant with another schedule.
func (j *job) saw(last lease.Tick) {
	// Before the job was added the spec may have been another. A time within a second is
	// mostly none of a tick, but what TickEnd.Settled has left of Through.
	strange := last.At.After(j.added) && last.At.Nanosecond() == 0 && !j.schedule.has(last.At)
	by := lease.OwnerName(last.Owner)
	j.mu.Lock()
	j.down, j.heard = false, time.Now()
	if last.At.After(j.status.Last) {
		j.status.Last = last.At.In(j.schedule.location)
	}
	if !last.Dead.IsZero() {
		j.status.Dead = last.Dead.In(j.schedule.location)
	}
	warn := strange && !j.warned[by]
	j.warned[by] = j.warned[by] || strange
	j.mu.Unlock()
	if warn {
		slog.Warn("cronwrap: another spec or time zone for this job", "job", j.name, "tick", last.At.In(j.schedule.location), "claimed_by", by)
		j.report(last.At.In(j.schedule.location), fmt.Errorf("%w: claimed by %s", ErrSpec, by))
	}
}
