package cronwrap

import (
	"context"
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
)

// Making up for missed ticks happens under the job's key, in one go, by whoever gets
// it first: a goroutine that catches up, or a tick that comes due before that had its
// turn. So no later tick overtakes a missed one, after which that could not be
// claimed any more.

// makeUp runs the ticks that are to run before t's, or all if that is zero: with
// Retry one that was begun and not done, and those that were missed. The key is held.
//
// That a tick is not done while we hold the key means that its runner is dead, or has
// lost the key. With Retry this is looked at before each tick, by all replicas, as
// once the next one is claimed the store has forgotten it: a tick that is not done is
// run again, however late, before any other. It is looked at under the key, so
// between this and our own claim a tick can be begun only by somebody who has lost
// the key and does not know yet, and the claim sees that; if it is we who lose it, the
// store refuses us once another has claimed. Ticks that were dropped for the dead one
// were missed.
//
// Without an exclusive guard the key tells nothing of other runs.
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
		// If ctx is over, the next claim says so.
	}
	return nil
}

// lossOf returns why the lease of ctx is over; nil if it is not, or was given up at
// Shutdown.
func lossOf(ctx context.Context) error {
	if ctx.Err() == nil || errors.Is(context.Cause(ctx), guard.ErrClosed) {
		return nil
	}
	return context.Cause(ctx)
}

// brokeAnEarlier says whether err befell the run of a tick that was made up for, so
// that it is to be reported with that tick's time. A loss can be found after the run.
func (t *tickRun) failedEarlierTick(err error) bool {
	if t.ran || t.latest.IsZero() && !t.lossReported {
		return false
	}
	return errors.Is(err, guard.ErrLost) || errors.Is(err, guard.ErrMaxHold) || errors.Is(err, errGoexit)
}

// missed returns the ticks before next to make up for, in order, if last is what
// the store remembers; a zero next is no bound. None was begun.
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

// unfinished says whether a tick was begun and not done.
func unfinished(last lease.Tick) bool { return !last.At.IsZero() && !last.Done }

// lag is whether ticks may have been missed: at first, after the store was down, and
// after cron was. It is counted, so that whoever has looked at the store and found
// nothing to make up for does not wipe out what was missed after that look.
type lag struct {
	fallen int // how often ticks may have been missed
	caught int // for the first so many of these it was made up
}

func (j *job) fellBehind() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lag.fallen++
}

// behind says whether ticks may have been missed. seen is for caughtUp: it is asked
// for before the store is.
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
