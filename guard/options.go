package guard

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/internal/engine/queue"
	"github.com/jobguard/jobguard/guard/lease"
)

// Bounds and defaults.
const (
	minTTL     = 50 * time.Millisecond // below, scheduling noise alone loses leases
	defaultTTL = 10 * time.Second
	marginFrac = 10 // Margin defaults to TTL/10

	// Longer than any lease should be, and short enough to be counted in
	// milliseconds by every store.
	maxDuration = 10 * 365 * 24 * time.Hour
)

// Option configures a Guard. Every option works in [New] and in [Guard.With],
// where it overrides what was set before.
type Option interface{ apply(*options) }

type option func(*options)

func (f option) apply(o *options) { f(o) }

// options is what a Guard was configured with. Durations whose default depends
// on others, or on the adapter, are pointers: nil is "not set".
type options struct {
	ttl       time.Duration
	margin    *time.Duration
	wait      *time.Duration // Forever is queue.Forever
	maxHold   time.Duration
	minHold   time.Duration
	name      string
	observers observers

	onLeadError  func(error) bool // nil: fn's first error ends Lead
	releaseLater bool             // AsyncRelease

	limit   *int
	shared  bool
	replace bool
	wrong   error // an option that cannot be checked by its value alone

	engine queue.Options // the same, for the engine
}

// TTL is how long a lease lives without renewal, and so how long a crashed
// holder blocks others. Renewals go out every TTL/3. At least 50 ms; default 10 s.
func TTL(d time.Duration) Option { return option(func(o *options) { o.ttl = d }) }

// Margin is how long before the lease can expire fn's context is cancelled at
// the latest: the budget for timers that fire late and clocks that run at
// different rates, and the time fn has to notice. Less than TTL/2; default TTL/10.
func Margin(d time.Duration) Option { return option(func(o *options) { o.margin = &d }) }

// Wait is how long to wait in the queue for a key that is held.
// Wait(0) tries once. Default: until the context ends; adapters have their own
// default.
func Wait(d time.Duration) Option {
	return option(func(o *options) {
		if d < 0 {
			o.wrong = fmt.Errorf("Wait %v is negative (Forever() waits until the context ends)", d)
		}
		o.wait = &d
	})
}

// Forever is to wait until the context ends, said explicitly: it overrides an
// earlier Wait and an adapter's default.
func Forever() Option {
	return option(func(o *options) {
		d := queue.Forever
		o.wait = &d
	})
}

// MaxHold is the longest a run may take. Then its context is cancelled with
// ErrMaxHold and renewal stops, so that the key is free within TTL whatever fn
// does. 0, the default, is no limit.
func MaxHold(d time.Duration) Option { return option(func(o *options) { o.maxHold = d }) }

// MinHold keeps the key closed for at least so long after a run began, however
// soon it ends: a job of a millisecond then still runs once on replicas whose
// clocks differ by less. If the process dies meanwhile, the key stays closed as long,
// also beyond the TTL. A run that never started does not count. Default 0.
func MinHold(d time.Duration) Option { return option(func(o *options) { o.minHold = d }) }

// Name is what observers call this group of keys ("orders"). It becomes a
// metric label, so there should be few of them; adapters set it.
func Name(s string) Option { return option(func(o *options) { o.name = s }) }

// Fallback is for adapters: opts that set Wait, Forever or Name count only if the
// guard's user has said nothing about that. What else they set is ignored.
func Fallback(opts ...Option) Option {
	return option(func(o *options) {
		var f options
		for _, opt := range opts {
			if opt == nil {
				o.wrong = errors.New("Fallback was given a nil Option")
				return
			}
			opt.apply(&f)
		}
		if o.wait == nil {
			o.wait = f.wait
		}
		if o.name == "" {
			o.name = f.name
		}
		if o.wrong == nil {
			o.wrong = f.wrong
		}
	})
}

// Observe adds an Observer. It may be given several times.
func Observe(obs Observer) Option {
	return option(func(o *options) {
		if obs == nil {
			o.wrong = errors.New("Observe was given a nil Observer")
			return
		}
		// A copy, since guards made by With share the backing array.
		o.observers = append(o.observers[:len(o.observers):len(o.observers)], obs)
	})
}

// Limit lets at most n runs proceed at once under the key, fleet-wide. Of
// different limits on one key the strictest of the runs present counts, with
// Shared ones too. Runs under a Limit have no fencing token. At least 1;
// Limit(1) is exclusive among its like but is not an exclusive run. With MinHold
// it is the run's place that stays taken.
func Limit(n int) Option { return option(func(o *options) { o.limit = &n }) }

// Shared makes runs readers: any number of them at once, but none together with
// an exclusive run. Arrivals queue behind an exclusive run that waits, so writers
// are not starved. Shared runs have no fencing token.
func Shared() Option { return option(func(o *options) { o.shared = true }) }

// AsyncRelease lets a call return without waiting for its release: one round trip less,
// of two. The release of a key that nobody was seen waiting for goes to Redis with the next
// request of this process, in the same round trip, or by itself within a millisecond; any
// other is sent at once. The engine awaits the answer, tries again if there is none, and
// reports to observers; RunEnd comes then, after the call has returned, on another goroutine.
// At most 256 such releases are under way; a call beyond that waits for its own.
//
// Without an error the run was exclusive until fn returned, by the clocks of this
// process, as always. What no longer follows: that the store still had the run as the
// holder then (only observers hear of [ReleaseLost]), and that the key is free. A
// caller in this process meets no trace of it; one elsewhere may find the key held for
// a moment. [Guard.Shutdown] waits for the answers: a program that exits without it
// can leave keys held until their TTL ends. Off by default.
func AsyncRelease() Option { return option(func(o *options) { o.releaseLater = true }) }

// Replace makes runs the latest that wins: a caller that finds the key held asks the
// holder to stop, whose context ends with cause [ErrReplaced], waits for it in the queue,
// and runs. A holder that has not returned within [Wait] leaves the key busy, and stops all
// the same; a leader campaigns again, see [Guard.Lead]. With Wait(0) no holder is asked. Of several
// callers under Replace that wait only the latest stays; the others get [ErrBusy] with
// ErrReplaced, at once in the same process, within a second in another. Callers without
// Replace that are before it in the queue have their turn, and are asked to stop then.
//
// It needs a store that is a [lease.Stopper], and excludes Limit and Shared. A holder
// does not hear before its lease is 100 ms old, unless it is in the same process.
func Replace() Option { return option(func(o *options) { o.replace = true }) }

// noReplace takes Replace back.
var noReplace = option(func(o *options) { o.replace = false })

// with returns o with opts applied, or the first thing that is wrong with it.
func (o options) with(opts []Option) (options, error) {
	o.wrong = nil
	for _, opt := range opts {
		if opt == nil {
			return o, errors.New("guard: an Option is nil")
		}
		opt.apply(&o)
	}
	if err := o.check(); err != nil {
		return o, fmt.Errorf("guard: %w", err)
	}
	o.engine = o.forEngine()
	return o, nil
}

// check names the option that is out of bounds, and the bound.
func (o *options) check() error {
	switch {
	case o.wrong != nil:
		return o.wrong
	case o.ttl < minTTL:
		return fmt.Errorf("TTL %v is less than %v", o.ttl, minTTL)
	case max(o.ttl, o.maxHold, o.minHold) > maxDuration:
		return o.tooLong()
	case o.margin != nil && *o.margin < 0:
		return fmt.Errorf("Margin %v is negative", *o.margin)
	case o.margin != nil && *o.margin >= o.ttl/2:
		return fmt.Errorf("Margin %v is not less than TTL/2 = %v", *o.margin, o.ttl/2)
	case o.maxHold < 0:
		return fmt.Errorf("MaxHold %v is negative", o.maxHold)
	case o.minHold < 0:
		return fmt.Errorf("MinHold %v is negative", o.minHold)
	case o.limit != nil && *o.limit < 1:
		return fmt.Errorf("Limit %d is less than 1", *o.limit)
	case o.limit != nil && o.shared:
		return errors.New("Limit and Shared exclude each other")
	case o.replace && o.leaseLimit() != lease.Exclusive:
		return errors.New("Replace excludes Limit and Shared: it replaces one holder")
	}
	return nil
}

// tooLong names the option that exceeds maxDuration.
func (o *options) tooLong() error {
	name, d := "TTL", o.ttl
	switch {
	case o.maxHold > maxDuration:
		name, d = "MaxHold", o.maxHold
	case o.minHold > maxDuration:
		name, d = "MinHold", o.minHold
	}
	return fmt.Errorf("%s %v is more than %v", name, d, maxDuration)
}

// leaseLimit is how many may hold the key at once.
func (o *options) leaseLimit() lease.Limit {
	switch {
	case o.shared:
		return lease.Shared
	case o.limit != nil:
		return lease.Limit(min(*o.limit, math.MaxInt32)) // no more can hold it
	}
	return lease.Exclusive
}

// forEngine translates for the engine.
func (o *options) forEngine() queue.Options {
	e := queue.Options{
		Terms: &keep.Terms{TTL: o.ttl, Margin: o.ttl / marginFrac, MinHold: o.minHold, Limit: o.leaseLimit()},
		Wait:  queue.Forever,

		Replace: o.replace,
	}
	if o.margin != nil {
		e.Margin = *o.margin
	}
	if o.wait != nil {
		e.Wait = *o.wait
	}
	return e
}

// suit refuses options that store is not able to keep.
func (o *options) suit(store lease.Store) error {
	if _, ok := store.(lease.Stopper); o.replace && !ok {
		return fmt.Errorf("guard: Replace: a %T cannot ask holders to stop (lease.Stopper)", store)
	}
	return nil
}
