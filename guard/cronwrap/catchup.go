package cronwrap

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jobguard/jobguard/guard"
)

// Catching up: a goroutine backfills missed ticks when the next tick may be too far
// away, that is when cron starts, and after the store has failed or a lease was lost.
// It ends when no tick is missing.

// start begins to catch up if cron runs. starting calls it; but other code can find
// the schedule in cron's entries and call its Next too, and a process that never
// starts cron must not run jobs.
func (j *job) start() {
	t := j.newTickRun(time.Time{})
	if t == nil {
		return
	}
	defer t.remove()
	for !j.hasNext() {
		j.started.Store(false)
		// cron may have started meanwhile and found that start was called already.
		if !j.hasNext() || !j.started.CompareAndSwap(false, true) {
			return
		}
	}
	j.startCatchUp(0)
}

// hasNext reports whether cron has computed when the job comes due next. It has once
// it runs, and answers only after it has asked all schedules.
func (j *job) hasNext() bool {
	return !j.entry().Next.IsZero()
}

// fallBehind notes that t's tick was missed, with err, or has to be run again. If the
// store failed, the next tick may be far away, so a goroutine tries until the store
// is back.
func (j *job) fallBehind(t *tickRun, err error) {
	switch {
	case j.opts.catchUp == None && !j.opts.retry:
	case !t.ran && storeFailed(err), t.ran && j.opts.retry && errors.Is(err, guard.ErrLost):
		j.startCatchUp(1)
	case !t.ran && j.opts.catchUp > 0:
		j.fellBehind()
	}
}

// dropped notes that t's tick was dropped because of err, which is no failure. If
// other code or a dead runner held the key, the next tick backfills it; also if
// another replica had taken the key without having claimed yet, whose tick then turns
// out not to be missing.
func (j *job) dropped(t *tickRun, err error) {
	level := slog.LevelDebug
	if j.ticks != nil && t.ctx.Err() == nil && errors.Is(err, guard.ErrBusy) && !errors.Is(err, errOverlap) {
		level = slog.LevelWarn // a nightly job must not be dropped unnoticed
		if j.opts.catchUp > 0 {
			j.fellBehind()
		}
	}
	slog.Log(context.Background(), level, "cronwrap: tick not run", "job", j.name, "tick", t.tick, "reason", err)
}

// storeFailed reports whether it may help to try later.
func storeFailed(err error) bool {
	return errors.Is(err, guard.ErrUnavailable) || errors.Is(err, guard.ErrLost)
}

// startCatchUp starts the goroutine that catches up, one for each job at a time. It
// ends when no tick is missing, or at Shutdown.
func (j *job) startCatchUp(failures int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lag.fallen++
	j.wanted = true
	if j.catching || j.closedLocked() {
		return
	}
	j.catching = true
	go j.catchUp(failures)
}

// catchUp tries until the store has answered.
func (j *job) catchUp(failures int) {
	ended := false
	defer func() {
		if !ended { // the job exited the goroutine
			j.mu.Lock()
			defer j.mu.Unlock()
			j.catching = false
		}
	}()
	for ; !ended; failures++ {
		if failures > 0 && !j.backOff(failures) {
			return
		}
		j.mu.Lock()
		j.wanted = false
		j.mu.Unlock()
		// A tick may have backfilled meanwhile.
		_, behind := j.behind()
		failed := behind && j.catchUpOnce(failures == 0)
		j.mu.Lock()
		ended = !failed && !j.wanted
		j.catching = !ended // from now on another goroutine may start
		j.mu.Unlock()
	}
}

// backOff waits between two attempts, and returns false at Shutdown.
func (j *job) backOff(failures int) bool {
	select {
	case <-time.After(min(time.Minute, time.Second<<min(failures, 6))):
		return true
	case <-j.closing:
		return false
	}
}

// catchUpOnce makes one attempt and returns whether to try again. It reports the
// first failure of the store, and failures that cost a run its lease.
func (j *job) catchUpOnce(first bool) (again bool) {
	if !j.entry().Valid() {
		return false // it was removed from cron: it has no ticks any more
	}
	t := j.newTickRun(time.Time{})
	if t == nil {
		return false
	}
	err := errGoexit // of a job; then the next tick backfills the rest
	defer t.remove()
	defer func() {
		if again = storeFailed(err); !again || first || !t.latest.IsZero() {
			j.conclude(t, err)
		}
	}()
	err = caught(func() error { return j.tryToCatchUp(t) })
	return again
}

func (j *job) tryToCatchUp(t *tickRun) error {
	seen, _ := j.behind()
	last, err := j.last(t.ctx)
	if err != nil {
		return err
	}
	if j.opts.retry && unfinished(last) || len(j.missed(last, time.Time{})) > 0 {
		return j.do(j.queue, t)
	}
	j.caughtUp(seen)
	return nil
}
