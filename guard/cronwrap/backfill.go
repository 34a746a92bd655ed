package cronwrap

import (
	"context"
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
)

// A backfill runs missed ticks under the job's key, in one run, before any later
// tick: once a later one is claimed, an earlier one cannot be.

// backfill runs the ticks that are to run before t's, or all if t has none: with
// Retry one that was begun and not done, and those that were missed. The key is held;
// why that is safe is in docs/design/cronwrap-ticks.md.
func (j *job) backfill(ctx context.Context, t *tickRun) error {
	seen, behind := j.behind()
	if !behind && !j.opts.retry && j.opts.catchUp == None {
		return nil
	}
	last, err := j.last(ctx)
	if err != nil {
		return err
	}
	_, exclusive := guard.Fence(ctx)
	died := exclusive && unfinished(last)
	var ticks []time.Time
	if died && j.opts.retry && !last.At.Equal(t.tick) {
		ticks = append(ticks, last.At.In(j.schedule.location))
	}
	if died || behind {
		ticks = append(ticks, j.missed(last, t.tick)...)
	}
	if err := j.runAll(ctx, t, ticks); err != nil {
		return err
	}
	j.caughtUp(seen)
	return nil
}

// runAll runs ticks, in order, under the key of t.
func (j *job) runAll(ctx context.Context, t *tickRun, ticks []time.Time) error {
	for i, tick := range ticks {
		if j.isClosed() {
			return guard.ErrClosed
		}
		err := j.claimAndCall(ctx, t, tick, t.tick.IsZero() && i == len(ticks)-1)
		ran, loss := t.latest.Equal(tick), lossOf(ctx)
		switch {
		case ran && err != nil, errors.Is(err, errUnrun) && (loss != nil || !j.opts.retry):
			if loss != nil {
				t.lossReported, err = true, errors.Join(loss, err)
			}
			j.report(tick, err)
		case err != nil && !errors.Is(err, errDealtWith):
			return err
		}
		// If ctx has ended, the next claim fails.
	}
	return nil
}

// lossOf returns why the lease of ctx ended; nil if it has not, or ended at Shutdown.
func lossOf(ctx context.Context) error {
	if ctx.Err() == nil || errors.Is(context.Cause(ctx), guard.ErrClosed) {
		return nil
	}
	return context.Cause(ctx)
}

// failedEarlierTick reports whether err is of the run of a backfilled tick, and so to
// be reported with that tick's time. A loss can be found after the run.
func (t *tickRun) failedEarlierTick(err error) bool {
	if t.ran || t.latest.IsZero() && !t.lossReported {
		return false
	}
	return errors.Is(err, guard.ErrLost) || errors.Is(err, guard.ErrMaxHold) || errors.Is(err, errGoexit)
}

// missed returns the ticks before next to backfill, in order, if last is the tick
// that the store remembers; a zero next is no bound. None was begun.
func (j *job) missed(last lease.Tick, next time.Time) []time.Time {
	if last.At.IsZero() || j.opts.catchUp == None {
		return nil
	}
	now := time.Now()
	until, after := now, last.At
	if !next.IsZero() {
		until = next.Add(-time.Microsecond)
	}
	if oldest := until.Add(-j.opts.within - time.Microsecond); after.Before(oldest) {
		after = oldest
	}
	return j.schedule.latest(after, next, now, int(j.opts.catchUp))
}

// unfinished reports whether a tick was begun and not done.
func unfinished(last lease.Tick) bool { return !last.At.IsZero() && !last.Done }

// lag counts how often ticks may have been missed: at first, and after the store or
// cron was down. It is a count, so that a goroutine that has read the store and found
// no missed tick does not clear what was missed after that read.
type lag struct {
	fallen int // how often ticks may have been missed
	caught int // the first so many of these were backfilled
}

func (j *job) fellBehind() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lag.fallen++
}

// behind reports whether ticks may have been missed. seen is for caughtUp, and is
// read before the store is.
func (j *job) behind() (seen int, behind bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lag.fallen, j.lag.fallen > j.lag.caught
}

func (j *job) caughtUp(seen int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lag.caught = max(j.lag.caught, seen)
}
