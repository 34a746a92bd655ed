package cronwrap

import (
	"errors"
	"fmt"
	"time"
)

// Option configures a Runner.
type Option func(*options)

type options struct {
	onError func(*Error)
	maxSkew time.Duration
}

const defaultSkew = time.Minute

// OnError has h told of what goes wrong: a job's error or panic, a lost lease, a
// store that is down. It is called on the goroutine of the job, after the key
// was given back; for a tick that is made up for, mostly before that. A panic in h
// is logged. Default: log/slog at level Error. A nil h panics.
//
// A tick that another replica runs, or that is skipped because the job's earlier
// run is not over, is nothing that went wrong: log/slog has it at level Debug. One
// that is dropped because something else has the key is there at level Warn;
// MutualExclusion cannot tell the two apart.
func OnError(h func(*Error)) Option {
	if h == nil {
		panic("cronwrap: OnError of a nil handler")
	}
	return func(o *options) { o.onError = h }
}

// MaxSkew is how far this machine's clock may be ahead of the store's. A tick
// that lies further ahead is not run here but reported with [ErrSkew]: once a
// tick of next year was run, none would be before. Clocks that are behind do no
// harm, and neither do smaller differences between replicas, but for what a
// difference of more than the time between two ticks can cost when a replica
// joins. Default 1 minute; a negative d panics.
func MaxSkew(d time.Duration) Option {
	if d < 0 {
		panic(fmt.Sprintf("cronwrap: MaxSkew %v is negative", d))
	}
	return func(o *options) { o.maxSkew = d }
}

// JobOption configures one job.
type JobOption func(*jobOptions)

type jobOptions struct {
	exclusive bool // no more than mutual exclusion
	overlap   OverlapPolicy
	catchUp   CatchUpPolicy
	within    time.Duration
	retry     bool
	dst       DSTPolicy
}

// OncePerTick has each tick run by one replica, whatever their clocks say and
// however short the job is. It is the default, and needs a store that is a
// lease.TickStore: redisstore and guardtest are.
func OncePerTick() JobOption { return func(o *jobOptions) { o.exclusive = false } }

// MutualExclusion only keeps runs of the job from overlapping, in all replicas
// together. Replicas whose clocks differ, or where one is done before the other
// begins, run the same tick several times.
func MutualExclusion() JobOption { return func(o *jobOptions) { o.exclusive = true } }

// OverlapPolicy says what becomes of a tick that comes due while an earlier
// one's run is not over, here or in another replica.
type OverlapPolicy int

const (
	// Skip drops it, unless that run ends within 250 ms.
	Skip OverlapPolicy = iota
	// Wait lets it stand in line. One tick of a job waits in each process: when
	// a later one comes due meanwhile, that one takes its place.
	Wait
)

// Overlap sets the policy; default Skip.
func Overlap(p OverlapPolicy) JobOption { return func(o *jobOptions) { o.overlap = p } }

// CatchUpPolicy says how many of the ticks that nobody ran are made up for: None,
// Once or All(n).
type CatchUpPolicy int

// None makes up for nothing.
const None CatchUpPolicy = 0

// Once is, for [CatchUp], the latest missed tick only; for [DST], that a repeated
// local time runs once.
const Once = 1

// All is the latest n of the missed ticks, in order.
func All(n int) CatchUpPolicy {
	if n < 1 {
		return -1 // Add says so
	}
	return CatchUpPolicy(n)
}

// CatchUp makes up for ticks that came due while no replica was running, or the
// store was down, and that are not older than within. They are known by the last
// tick that the store remembers, so a job that never ran has missed nothing.
// They run when cron starts, one after the other under one lease, each with its
// own scheduled time; those that the store's outage cost, when it is back or with
// the next tick; those of a time in which cron was stopped or the machine slept,
// with the next tick. Under Skip a tick that comes due meanwhile is dropped.
//
// Those that Skip dropped during a run were not missed, unless the runner died and
// the run was not taken over;
// those that it dropped because other code, or a dead runner, had the key were, and
// the next tick makes up for them.
// Ticks are those of the schedule as it is now, also if it was another one when
// they should have run. Default None.
func CatchUp(p CatchUpPolicy, within time.Duration) JobOption {
	return func(o *jobOptions) { o.catchUp, o.within = p, within }
}

// Retry makes each tick that was begun run at least once: when its runner dies
// or loses its lease, or is shut down and fn returns an error, another replica
// runs the tick again, or this one does, however late: that is no matter of CatchUp.
// The replicas stand in line for that until the run is over; one that starts later
// takes part too, and so do all of them after an outage of the store. If none did,
// the next tick that gets the key runs the earlier one first.
//
// Without Retry a tick runs at most once.
//
// A run that fails or panics is over: its error goes to the handler, and the
// tick is not run again.
func Retry() JobOption { return func(o *jobOptions) { o.retry = true } }

// DSTPolicy says what becomes of local times that clocks show twice when they
// are set back. Times that are skipped when clocks are set forward never run,
// as with cron itself.
type DSTPolicy int

// AsCron runs a job at both, as cron does: "30 1 * * *" twice on that day.
const AsCron DSTPolicy = 0

// DST sets the policy: AsCron, the default, or Once, which drops what falls into
// the repeated hour. That includes the ticks of "*/15 * * * *". It has no effect
// on @every, which knows no local time.
func DST(p DSTPolicy) JobOption { return func(o *jobOptions) { o.dst = p } }

func (o *jobOptions) check() error {
	switch {
	case o.overlap != Skip && o.overlap != Wait:
		return fmt.Errorf("Overlap: no policy %d", o.overlap)
	case o.dst != AsCron && o.dst != Once:
		return fmt.Errorf("DST: no policy %d", o.dst)
	case o.catchUp < 0:
		return errors.New("CatchUp: All needs at least 1")
	case o.catchUp > 0 && o.within <= 0:
		return fmt.Errorf("CatchUp within %v: not positive", o.within)
	case o.exclusive && o.catchUp > 0:
		return errors.New("CatchUp needs OncePerTick: with MutualExclusion no tick is remembered")
	case o.exclusive && o.retry:
		return errors.New("Retry needs OncePerTick: with MutualExclusion no tick is remembered")
	}
	return nil
}
