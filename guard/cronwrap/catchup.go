package cronwrap

import (
	"context"
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
)

// Making up for missed ticks happens under the job's key, in one go, by whoever
// gets it first: the goroutine that starts with cron or when the store has failed,
// or a tick that comes due before that had its turn. So no later tick overtakes a missed one, after which
// that could not be claimed any more.

// start begins to catch up if cron runs. starting asks for it; but others can find
// the schedule in cron's entries and ask it too, and a process that never starts
// cron must not run anything.
func (j *job) start() {
	p := j.arrive(time.Time{})
	if p == nil {
		return
	}
	defer p.leave()
	for !j.hasNext() {
		j.started.Store(false)
		// cron may have started meanwhile and found that it had been asked.
		if !j.hasNext() || !j.started.CompareAndSwap(false, true) {
			return
		}
	}
	j.startCatchUp(0)
}

// hasNext says whether cron knows when the job comes due next: it does once it
// runs, and answers only after it has asked all schedules.
func (j *job) hasNext() bool {
	j.adding.Lock()
	id := j.id
	j.adding.Unlock()
	return !j.cron.Entry(id).Next.IsZero()
}

// fallBehind notes that p's tick was missed, with err, or has to be run again. When
// it was the store that failed the next tick may be far away, so a goroutine tries
// until the store is back.
func (j *job) fallBehind(p *place, err error) {
	switch {
	case j.opts.catchUp == None && !j.opts.retry:
	case !p.ran && storeFailed(err), p.ran && j.opts.retry && errors.Is(err, guard.ErrLost):
		j.startCatchUp(1)
	case !p.ran && j.opts.catchUp > 0:
		j.behind.Store(true)
	}
}

// storeFailed says whether it may help to try later.
func storeFailed(err error) bool {
	return errors.Is(err, guard.ErrUnavailable) || errors.Is(err, guard.ErrLost)
}

// startCatchUp has a goroutine of the Runner catch up: one for each job at a time.
// It ends when nothing is missing, or at Shutdown.
func (j *job) startCatchUp(failures int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.behind.Store(true)
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
		// A tick may have done it meanwhile.
		failed := j.behind.Load() && j.catchUpOnce(failures == 0)
		j.mu.Lock()
		ended = !failed && !j.wanted
		j.catching = !ended // from now on it can be another goroutine's
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

// catchUpOnce says whether to try again. Of failures of the store it reports the
// first.
func (j *job) catchUpOnce(first bool) (again bool) {
	p := j.arrive(time.Time{})
	if p == nil {
		return false
	}
	err := errGoexit // of a job; then the next tick makes up for the rest
	defer p.leave()
	defer func() {
		if again = storeFailed(err); !again || first {
			j.settle(p, err)
		}
	}()
	err = caught(func() error { return j.tryToCatchUp(p) })
	return again
}

func (j *job) tryToCatchUp(p *place) error {
	last, err := j.last(p.ctx)
	if err != nil {
		return err
	}
	if len(j.missed(last, time.Time{})) == 0 {
		j.behind.Store(false)
		return nil
	}
	return j.do(j.line, p)
}

// makeUp runs the ticks that were missed before next, or all if next is zero. The
// key is held.
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
	ticks := j.missed(last, next)
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

// missed returns the ticks before next to make up for, in order, if last is what
// the store remembers; a zero next is no bound. A tick that was begun and not done
// counts with Retry, and without CatchUp until the next one has come due.
func (j *job) missed(last lease.Tick, next time.Time) []time.Time {
	if last.At.IsZero() {
		return nil
	}
	now := time.Now()
	unfinished := j.opts.retry && !last.Done
	if j.opts.catchUp == None {
		if unfinished && (next.IsZero() || last.At.Before(next)) && len(j.schedule.latest(last.At, next, now, 1)) == 0 {
			return []time.Time{last.At.In(j.schedule.location)}
		}
		return nil
	}
	after := last.At
	if unfinished {
		after = after.Add(-time.Microsecond)
	}
	until := now
	if !next.IsZero() {
		until = next.Add(-time.Microsecond)
	}
	if oldest := until.Add(-j.opts.within - time.Microsecond); after.Before(oldest) {
		after = oldest
	}
	return j.schedule.latest(after, next, now, int(j.opts.catchUp))
}
