package cronwrap

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Option configures a Runner.
type Option interface{ apply(*options) }

type option func(*options)

func (f option) apply(o *options) { f(o) }

type options struct {
	onError   func(*Error)
	maxSkew   time.Duration
	backfills int

	wrong error // the last option that is out of bounds
}

// OnError sets the handler of what goes wrong: errors and panics of jobs, lost leases,
// outages of the store, ticks that were missed or given up, and [ErrSpec]. It is called
// on the goroutine of the job, after the release; for a tick that others follow under
// the same lease before it. A panic in h is logged. h must not be nil. Default:
// log/slog at level Error.
//
// A tick that another replica runs, or that is dropped because an earlier run is not
// over, is not reported but logged with log/slog at level Debug. One that is dropped
// because other code holds the key is logged at level Warn; MutualExclusion cannot
// distinguish the two.
func OnError(h func(*Error)) Option {
	return option(func(o *options) {
		if h == nil {
			o.wrong = errors.New("OnError: the handler is nil")
		}
		o.onError = h
	})
}

// MaxSkew is how far this machine's clock may be ahead of the store's. A tick that lies
// further ahead does not run here but is reported with [ErrSkew]: after a tick of next
// year no earlier one would run. Clocks that are behind do no harm, and neither do
// smaller differences, except that ticks can be lost when a replica joins whose clock
// is ahead by more than the time between two ticks. At least 0; default 1 minute.
func MaxSkew(d time.Duration) Option {
	return option(func(o *options) {
		if d < 0 {
			o.wrong = fmt.Errorf("MaxSkew %v is negative", d)
		}
		o.maxSkew = d
	})
}

// Backfills is how many jobs of this process may run missed ticks at once. The others
// wait, without the key, so that other replicas can take them; so do their ticks that
// come due meanwhile. At least 1; default 4.
func Backfills(n int) Option {
	return option(func(o *options) {
		if n < 1 {
			o.wrong = fmt.Errorf("Backfills %d is less than 1", n)
		}
		o.backfills = n
	})
}

// newOptions applies opts to the defaults, or returns which is wrong, and why.
func newOptions(opts []Option) (options, error) {
	o := options{onError: logError, maxSkew: time.Minute, backfills: 4}
	for _, opt := range opts {
		if opt == nil {
			return o, errors.New("an Option is nil")
		}
		opt.apply(&o)
	}
	return o, o.wrong
}

// JobOption configures one job. Without any, a tick runs at most once, and is dropped
// while an earlier one's run is not over, here or in another replica, unless that run
// ends within 250 ms.
type JobOption interface{ apply(*jobOptions) }

type jobOption func(*jobOptions)

func (f jobOption) apply(o *jobOptions) { f(o) }

type jobOptions struct {
	exclusive bool // no more than mutual exclusion
	wait      bool
	local     bool // once per local time

	again    bool // at least once
	attempts int

	missed int           // how many missed ticks are backfilled
	within time.Duration // and how old they are at most

	wrong error
}

// MutualExclusion only keeps runs of the job from overlapping, in all replicas
// together. Replicas whose clocks differ, or where one is done before the other
// begins, run the same tick several times. A tick is dropped at once while the key is
// held. It needs no lease.TickStore, which each other job does: redisstore and
// guardtest are.
func MutualExclusion() JobOption { return jobOption(func(o *jobOptions) { o.exclusive = true }) }

// OverlapWait lets a tick that comes due while an earlier one's run is not over wait in
// the queue of the key. One waits in each process: a later one replaces it, unless
// CatchUp or AtLeastOnce backfills it.
func OverlapWait() JobOption { return jobOption(func(o *jobOptions) { o.wait = true }) }

// CatchUp backfills the latest n ticks that no replica ran and that are not older than
// within: they came due while no replica was running, or the store was down, or other
// code held the key. n is at least 1, within more than 0. They run in order, before any
// later tick, each with its own scheduled time. What was missed is known by the last
// tick that the store remembers: a job that never ran has missed none.
//
// The replicas look for missed ticks when cron starts, at each tick, and when the store
// is back after a failure. A tick waits in the queue of the key while that is held.
// One that comes due during a run, without OverlapWait, was dropped and not missed,
// unless the runner died. Backfilled ticks are those of the schedule as it is now.
func CatchUp(n int, within time.Duration) JobOption {
	return jobOption(func(o *jobOptions) {
		switch {
		case n < 1:
			o.wrong = fmt.Errorf("CatchUp: %d ticks are less than 1", n)
		case within <= 0:
			o.wrong = fmt.Errorf("CatchUp: within %v is not more than 0s", within)
		}
		o.missed, o.within = max(o.missed, n), max(o.within, within)
	})
}

// AtLeastOnce is CatchUp of all ticks that are not older than within, and makes each
// tick that was begun run to its end once, however late: when its runner dies, loses
// its lease, or is shut down and fn returns an error, a replica runs it again, before
// any later tick, up to [MaxAttempts]. Without it a tick runs at most once.
//
// The replicas wait in the queue for that until the run is over. A run that fails or
// panics is over: its error goes to the handler, and the tick is not run again.
func AtLeastOnce(within time.Duration) JobOption {
	return jobOption(func(o *jobOptions) {
		if within <= 0 {
			o.wrong = fmt.Errorf("AtLeastOnce: within %v is not more than 0s", within)
		}
		o.again, o.missed, o.within = true, math.MaxInt, max(o.within, within)
	})
}

// MaxAttempts is how many runs of a tick may begin under [AtLeastOnce], in all replicas
// together. After the last, unless that came to its end or was broken off by Shutdown,
// the tick is dead: one replica reports it with [ErrDead], [JobStatus] shows it, and the
// next tick goes on. At least 1; default 3.
func MaxAttempts(n int) JobOption {
	return jobOption(func(o *jobOptions) {
		if n < 1 {
			o.wrong = fmt.Errorf("MaxAttempts %d is less than 1", n)
		}
		o.attempts = n
	})
}

// OncePerLocalTime drops what falls into a local time that clocks show for the second
// time when they are set back: "30 1 * * *" then runs once on that day, and not twice,
// as with cron. That includes the ticks of "*/15 * * * *". It has no effect on @every,
// which has no local time. Times that are skipped when clocks are set forward never
// run, as with cron.
func OncePerLocalTime() JobOption { return jobOption(func(o *jobOptions) { o.local = true }) }

// newJobOptions applies opts to the defaults, or returns which is wrong, and why.
func newJobOptions(opts []JobOption) (jobOptions, error) {
	o := jobOptions{attempts: 3}
	for _, opt := range opts {
		if opt == nil {
			return o, errors.New("a JobOption is nil")
		}
		opt.apply(&o)
	}
	if o.wrong == nil && o.exclusive && o.missed > 0 {
		o.wrong = errors.New("CatchUp and AtLeastOnce need what MutualExclusion leaves out: ticks that are remembered")
	}
	return o, o.wrong
}
