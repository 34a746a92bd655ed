package cronwrap

import (
	"context"
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
)

// Making up for missed ticks happens under the job's key, in one go, by whoever
// gets it first: the goroutine that starts with cron, or a tick that comes due
// before that had its turn. So no later tick overtakes a missed one, after which
// that could not be claimed any more.

// start begins to catch up. It is called on cron's goroutine, so it only starts
// the one that does: the Runner owns that, and it ends when nothing is missing or
// at Shutdown.
func (j *job) start() {
	if !j.behind.Load() {
		return
	}
	go j.catchUp()
}

// catchUp tries until the store has answered.
func (j *job) catchUp() {
	for failures := 1; ; failures++ {
		p := j.arrive(time.Time{})
		if p == nil {
			return
		}
		if again := j.catchUpOnce(p, failures == 1); !again {
			return
		}
		select {
		case <-time.After(min(time.Minute, time.Second<<min(failures, 6))):
		case <-j.closing:
			return
		}
		if !j.behind.Load() { // a tick has done it meanwhile
			return
		}
	}
}

// catchUpOnce says whether to try again. The first failure is reported.
func (j *job) catchUpOnce(p *place, report bool) (again bool) {
	err := errGoexit // of a job; then the next tick makes up for the rest
	defer p.leave()
	defer func() {
		if again = errors.Is(err, guard.ErrUnavailable); !again || report {
			j.settle(p, err)
		}
	}()
	err = j.tryToCatchUp(p)
	return again
}

func (j *job) tryToCatchUp(p *place) error {
	last, err := j.last(p.ctx)
	if err != nil {
		return err
	}
	if len(j.missed(last, time.Now())) == 0 {
		j.behind.Store(false)
		return nil
	}
	return j.do(j.line, p)
}

// makeUp runs the ticks that were missed before next, or until now if next is
// zero. The key is held.
func (j *job) makeUp(ctx context.Context, next time.Time) (err error) {
	if !j.behind.Swap(false) {
		return nil
	}
	made := false
	defer func() {
		if !made {
			j.behind.Store(true)
		}
	}()
	last, err := j.last(ctx)
	if err != nil {
		return err
	}
	until := time.Now()
	if !next.IsZero() {
		until = next.Add(-time.Microsecond)
	}
	ticks := j.missed(last, until)
	for i, tick := range ticks {
		if j.isClosed() {
			return guard.ErrClosed
		}
		var ran bool
		err := j.claimAndCall(ctx, tick, next.IsZero() && i == len(ticks)-1, &ran)
		switch {
		case err == nil:
		case ran:
			j.report(tick, err)
		case !errors.Is(err, errDealtWith):
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	made = true
	return nil
}

// missed returns the ticks until then to make up for, in order, if last is what
// the store remembers. A tick that was begun and not done counts with Retry, and
// without CatchUp until the next one has come due.
func (j *job) missed(last lease.Tick, until time.Time) []time.Time {
	if last.At.IsZero() {
		return nil
	}
	unfinished := j.opts.retry && !last.Done
	if j.opts.catchUp == None {
		if unfinished && len(j.schedule.latest(last.At, until, 1)) == 0 {
			return []time.Time{last.At.In(j.schedule.location)}
		}
		return nil
	}
	after := last.At
	if unfinished {
		after = after.Add(-time.Microsecond)
	}
	if oldest := until.Add(-j.opts.within - time.Microsecond); after.Before(oldest) {
		after = oldest
	}
	return j.schedule.latest(after, until, int(j.opts.catchUp))
}
