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

// makeUp runs the ticks that are to run before next, or all if next is zero: with
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
func (j *job) makeUp(ctx context.Context, next time.Time) error {
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
	if died && j.opts.retry && !last.At.Equal(next) {
		ticks = append(ticks, last.At.In(j.schedule.location))
	}
	if died || behind {
		ticks = append(ticks, j.missed(last, next)...)
	}
	if err := j.runAll(ctx, ticks, next.IsZero()); err != nil {
		return err
	}
	j.caughtUp(seen)
	return nil
}

// runAll runs ticks, in order; final says that no other follows under this key.
func (j *job) runAll(ctx context.Context, ticks []time.Time, final bool) error {
	for i, tick := range ticks {
		if j.isClosed() {
			return guard.ErrClosed
		}
		var ran bool
		err := j.claimAndCall(ctx, tick, final && i == len(ticks)-1, &ran)
		switch {
		case err == nil:
		case ran, errors.Is(err, errUnrun) && !j.opts.retry:
			j.report(tick, err)
		case !errors.Is(err, errDealtWith):
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
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
