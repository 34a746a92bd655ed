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
	wrong     error // the last option that is out of bounds
}

// OnError sets the handler of what goes wrong: errors and panics of jobs, lost leases,
// outages of the store, ticks that were missed or given up, and [ErrSpec]. It is called
// on the goroutine of the job, after the release; for a tick that others follow under
// the same lease before it. A panic in h is logged. h must not be nil. Default:
// log/slog at level Error.
//
// A tick that another replica runs, or that is dropped for an earlier run, is logged at
// level Debug instead, and one that is dropped because other code holds the key at
// level Warn; MutualExclusion cannot distinguish the two.
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
// year no earlier one would run. Other differences do no harm, except that ticks can be
// lost when a replica joins whose clock is ahead by more than the time between two
// ticks. At least 0; default 1 minute.
func MaxSkew(d time.Duration) Option {
	return option(func(o *options) {
		if d < 0 {
			o.wrong = fmt.Errorf("MaxSkew %v is negative", d)
		}
		o.maxSkew = d
	})
}

// Backfills is how many jobs of this process may run missed ticks at once. The others
// wait, and so do their next ticks, without the key: other replicas can take them. At
// least 1; default 4.
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

// JobOption configures one job. Without any, a tick runs at most once, and is dropped if
// an earlier one's run, in any replica, goes on for 250 ms after it came due.
type JobOption interface{ apply(*jobOptions) }

type jobOption func(*jobOptions)

func (f jobOption) apply(o *jobOptions) { f(o) }

type jobOptions struct {
	exclusive bool // no more than mutual exclusion
	wait      bool
	local     bool // once per local time
	again     bool // at least once
	attempts  int
	missed    int           // how many missed ticks are backfilled
	within    time.Duration // and how old they are at most
	wrong     error
}

// MutualExclusion only keeps runs of the job from overlapping, in all replicas
// together; a tick is dropped at once while the key is held. Replicas whose clocks
// differ, or where one is done before the other begins, run the same tick several
// times. Other jobs need a store that is a lease.TickStore: redisstore and guardtest are.
func MutualExclusion() JobOption { return jobOption(func(o *jobOptions) { o.exclusive = true }) }

// OverlapWait lets a tick that comes due while an earlier one's run is not over wait in
// the queue of the key. One waits in each process: a later one replaces it, unless
// CatchUp or AtLeastOnce backfills it.
func OverlapWait() JobOption { return jobOption(func(o *jobOptions) { o.wait = true }) }

// CatchUp backfills the latest n ticks that no replica ran and that are not older than
// within: no replica was running, the store was down, or other code held the key. They
// run in order, before any later tick, each with its own scheduled time. They are the
// ticks of the schedule as it is now, after the last that the store remembers: a job
// that never ran has missed none. n is at least 1, within more than 0.
//
// Replicas look for missed ticks when cron starts, at each tick, and when the store is
// back after a failure. While the key is held they wait in its queue. A tick that comes
// due during a run was not missed but is dropped, without OverlapWait, unless the runner
// dies.
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
// any later tick, up to [MaxAttempts]. The replicas wait in the queue for that. A run
// that fails or panics is over.
func AtLeastOnce(within time.Duration) JobOption {
	return jobOption(func(o *jobOptions) {
		if within <= 0 {
			o.wrong = fmt.Errorf("AtLeastOnce: within %v is not more than 0s", within)
		}
		o.again, o.missed, o.within = true, math.MaxInt, max(o.within, within)
	})
}

// MaxAttempts is how many runs of a tick may begin under [AtLeastOnce], in all replicas
// together, without those that Shutdown broke off. If none comes to its end the tick is
// dead: one replica reports it with [ErrDead], [JobStatus] shows it, and the next tick
// goes on. At least 1; default 3.
func MaxAttempts(n int) JobOption {
	return jobOption(func(o *jobOptions) {
		if n < 1 {
			o.wrong = fmt.Errorf("MaxAttempts %d is less than 1", n)
		}
		o.attempts = n
	})
}

// OncePerLocalTime drops ticks at a local time that clocks show for the second time when
// they are set back: "30 1 * * *" then runs once on that day, where cron runs it twice,
// and "*/15 * * * *" not in the repeated hour. It has no effect on @every.
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
