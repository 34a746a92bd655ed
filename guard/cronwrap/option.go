package cronwrap

import (
	"errors"
	"fmt"
	"time"
)

// Option configures a Runner.
type Option interface{ apply(*options) }

type option func(*options)

func (f option) apply(o *options) { f(o) }

type options struct {
	onError func(*Error)
	maxSkew time.Duration

	wrong error // the last option that is out of bounds
}

const defaultSkew = time.Minute

// OnError sets the handler of what goes wrong: errors and panics of jobs, lost leases,
// outages of the store. It is called on the goroutine of the job, after the release;
// for a backfilled tick mostly before it. A panic in h is logged. h must not be nil.
// Default: log/slog at level Error.
//
// A tick that another replica runs, or that is skipped because the job's earlier run is
// not over, is not reported but logged with log/slog at level Debug. One that is
// dropped because other code holds the key is logged at level Warn; MutualExclusion
// cannot distinguish the two.
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

// newOptions applies opts to the defaults, or returns which is wrong, and why.
func newOptions(opts []Option) (options, error) {
	o := options{onError: logError, maxSkew: defaultSkew}
	for _, opt := range opts {
		if opt == nil {
			return o, errors.New("an Option is nil")
		}
		opt.apply(&o)
	}
	return o, o.wrong
}

// JobOption configures one job.
type JobOption interface{ apply(*jobOptions) }

type jobOption func(*jobOptions)

func (f jobOption) apply(o *jobOptions) { f(o) }

type jobOptions struct {
	exclusive bool // no more than mutual exclusion
	overlap   OverlapPolicy
	catchUp   CatchUpPolicy
	within    time.Duration
	retry     bool
	dst       DSTPolicy
}

// OncePerTick runs each tick on one replica, whatever their clocks say and however
// short the job is. It is the default, and needs a store that is a lease.TickStore:
// redisstore and guardtest are.
func OncePerTick() JobOption { return jobOption(func(o *jobOptions) { o.exclusive = false }) }

// MutualExclusion only keeps runs of the job from overlapping, in all replicas
// together. Replicas whose clocks differ, or where one is done before the other
// begins, run the same tick several times.
func MutualExclusion() JobOption { return jobOption(func(o *jobOptions) { o.exclusive = true }) }

// OverlapPolicy is what becomes of a tick that comes due while an earlier one's run is
// not over, here or in another replica.
type OverlapPolicy int

const (
	// Skip drops it, unless that run ends within 250 ms.
	Skip OverlapPolicy = iota
	// Wait puts it into the queue of the key. One tick of a job waits in each
	// process: a later one that comes due meanwhile replaces it.
	Wait
)

// Overlap sets the policy; default Skip.
func Overlap(p OverlapPolicy) JobOption { return jobOption(func(o *jobOptions) { o.overlap = p }) }

// CatchUpPolicy is how many of the missed ticks are backfilled: None, Once or All(n).
type CatchUpPolicy int

// None backfills no tick.
const None CatchUpPolicy = 0

// Once is, for [CatchUp], the latest missed tick only; for [DST], that a repeated
// local time runs once.
const Once = 1

// All is the latest n of the missed ticks, in order. n is at least 1.
func All(n int) CatchUpPolicy {
	if n < 1 {
		return -1 // refused by Add
	}
	return CatchUpPolicy(n)
}

// CatchUp backfills ticks that came due while no replica was running or the store was
// down, and that are not older than within, which must be more than 0. They are known
// by the last tick that the store remembers: a job that never ran has missed none.
// Default None.
//
// They run when cron starts, in order, under one lease, each with its own scheduled
// time. After an outage of the store they run when the store is back or with the next
// tick; after cron was stopped or the machine slept, with the next tick. Under Skip a
// tick that comes due meanwhile is dropped.
//
// Ticks that Skip dropped during a run were not missed, unless the runner died and the
// run was not taken over. Ticks that it dropped because other code, or a dead runner,
// held the key were: the next tick backfills them. Backfilled ticks are those of the
// schedule as it is now.
func CatchUp(p CatchUpPolicy, within time.Duration) JobOption {
	return jobOption(func(o *jobOptions) { o.catchUp, o.within = p, within })
}

// Retry makes each tick that was begun run at least once, however late and whatever
// CatchUp says: when its runner dies, loses its lease, or is shut down and fn returns
// an error, a replica runs the tick again. Without Retry a tick runs at most once.
//
// The replicas wait in the queue for that until the run is over, those that start
// later or come back after an outage of the store too. If none does, the next tick that
// gets the key runs the earlier one first.
//
// A run that fails or panics is over: its error goes to the handler, and the tick is
// not run again.
func Retry() JobOption { return jobOption(func(o *jobOptions) { o.retry = true }) }

// DSTPolicy is what becomes of local times that clocks show twice when they are set
// back. Times that are skipped when clocks are set forward never run, as with cron.
type DSTPolicy int

// AsCron runs a job at both, as cron does: "30 1 * * *" twice on that day.
const AsCron DSTPolicy = 0

// DST sets the policy: AsCron, the default, or Once, which drops what falls into
// the repeated hour. That includes the ticks of "*/15 * * * *". It has no effect
// on @every, which has no local time.
func DST(p DSTPolicy) JobOption { return jobOption(func(o *jobOptions) { o.dst = p }) }

func (o *jobOptions) check() error {
	switch {
	case o.overlap != Skip && o.overlap != Wait:
		return fmt.Errorf("Overlap %d is neither Skip nor Wait", o.overlap)
	case o.dst != AsCron && o.dst != Once:
		return fmt.Errorf("DST %d is neither AsCron nor Once", o.dst)
	case o.catchUp < 0:
		return errors.New("CatchUp: the n of All is less than 1")
	case o.catchUp > 0 && o.within <= 0:
		return fmt.Errorf("CatchUp: within %v is not more than 0s", o.within)
	case o.exclusive && o.catchUp > 0:
		return errors.New("CatchUp needs OncePerTick: with MutualExclusion no tick is remembered")
	case o.exclusive && o.retry:
		return errors.New("Retry needs OncePerTick: with MutualExclusion no tick is remembered")
	}
	return nil
}
