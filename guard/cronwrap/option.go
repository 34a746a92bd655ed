package cronwrap

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jobguard/jobguard/guard/internal/option"
)

// Option configures a Runner.
type Option = option.Option[options]

type set = option.Func[options]

type options struct {
	onError   func(*Error)
	maxSkew   time.Duration
	backfills int
}

// OnError sets the handler of what goes wrong: errors and panics of jobs, lost leases,
// outages of the store, ticks that were missed or given up, and [ErrSpec]. It is called
// on the goroutine of the job, after the release, or before the next tick under the same
// lease. A panic in h is logged. h must not be nil. Default: log/slog at level Error.
// Ticks that another replica runs, or that are dropped for a run, are logged instead.
func OnError(h func(*Error)) Option {
	return set(func(o *options) error {
		if h == nil {
			return errors.New("OnError: the handler is nil")
		}
		o.onError = h
		return nil
	})
}

// MaxSkew is how far this machine's clock may be ahead of the store's. A tick that lies
// further ahead does not run here but is reported with [ErrSkew]: after a tick of next
// year no earlier one would run. At least 0; default 1 minute.
func MaxSkew(d time.Duration) Option {
	return set(func(o *options) error {
		if d < 0 {
			return fmt.Errorf("MaxSkew %v is negative", d)
		}
		o.maxSkew = d
		return nil
	})
}

// Backfills is how many jobs of this process may run missed ticks at once. The others
// wait without the key: other replicas can take them. At least 1; default 4.
func Backfills(n int) Option {
	return set(func(o *options) error {
		if n < 1 {
			return fmt.Errorf("Backfills %d is less than 1", n)
		}
		o.backfills = n
		return nil
	})
}

// JobOption configures one job. Without any, a tick runs at most once, and is dropped if
// an earlier one's run, in any replica, goes on for 250 ms after it came due.
type JobOption = option.Option[jobOptions]

type setJob = option.Func[jobOptions]

type jobOptions struct {
	exclusive bool // no more than mutual exclusion
	wait      bool
	local     bool // once per local time
	again     bool // at least once
	attempts  int
	missed    int           // how many missed ticks are backfilled
	within    time.Duration // and how old they are at most
}

// MutualExclusion only keeps runs of the job from overlapping, in all replicas together;
// a tick is dropped at once while the key is held, and run again by a replica that comes
// later. Other jobs need a store that is a lease.TickStore: redisstore, quorum and guardtest are.
func MutualExclusion() JobOption {
	return setJob(func(o *jobOptions) error { o.exclusive = true; return nil })
}

// OverlapWait lets a tick that comes due while an earlier one's run is not over wait in
// the queue of the key. One waits in each process: a later one replaces it, unless
// CatchUp or AtLeastOnce backfills it.
func OverlapWait() JobOption { return setJob(func(o *jobOptions) error { o.wait = true; return nil }) }

// CatchUp backfills the latest n ticks that no replica ran and that are not older than
// within: no replica was running, the store was down, or other code held the key. They
// run in order, before any later tick, each with its own scheduled time, when cron starts,
// at the next tick, or when the store is back. A job that never ran has missed none. A
// tick that comes due during a run is dropped, without OverlapWait, unless the runner
// dies. n is at least 1, within more than 0.
func CatchUp(n int, within time.Duration) JobOption {
	return setJob(func(o *jobOptions) error {
		switch {
		case n < 1:
			return fmt.Errorf("CatchUp: %d ticks are less than 1", n)
		case within <= 0:
			return fmt.Errorf("CatchUp: within %v is not more than 0s", within)
		}
		o.missed, o.within = max(o.missed, n), max(o.within, within)
		return nil
	})
}

// AtLeastOnce is CatchUp of all ticks that are not older than within, and makes each tick
// that was begun run to its end once, however late: when its runner dies, loses its lease,
// or is shut down and fn returns an error, a replica runs it again, before any later tick,
// up to [MaxAttempts]. A run that fails or panics is over.
func AtLeastOnce(within time.Duration) JobOption {
	return setJob(func(o *jobOptions) error {
		if within <= 0 {
			return fmt.Errorf("AtLeastOnce: within %v is not more than 0s", within)
		}
		o.again, o.missed, o.within = true, math.MaxInt, max(o.within, within)
		return nil
	})
}

// MaxAttempts is how many runs of a tick may begin under [AtLeastOnce], in all replicas,
// without those that Shutdown broke off. Then the tick is dead: one replica reports it
// with [ErrDead], [JobStatus] shows it, and the next one goes on. At least 1; default 3.
func MaxAttempts(n int) JobOption {
	return setJob(func(o *jobOptions) error {
		if n < 1 {
			return fmt.Errorf("MaxAttempts %d is less than 1", n)
		}
		o.attempts = n
		return nil
	})
}

// OncePerLocalTime drops ticks at a local time that clocks show for the second time when
// they are set back: "30 1 * * *" then runs once on that day, where cron runs it twice,
// and "*/15 * * * *" not in the repeated hour. It has no effect on @every.
func OncePerLocalTime() JobOption {
	return setJob(func(o *jobOptions) error { o.local = true; return nil })
}

// newJobOptions applies opts to the defaults, or returns which is wrong, and why.
func newJobOptions(opts []JobOption) (jobOptions, error) {
	o, err := option.Apply(jobOptions{attempts: 3}, "a JobOption", opts)
	if err == nil && o.exclusive && o.missed > 0 {
		err = errors.New("CatchUp and AtLeastOnce need what MutualExclusion leaves out: ticks that are remembered")
	}
	return o, err
}
