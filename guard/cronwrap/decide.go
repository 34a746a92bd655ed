package cronwrap

import (
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// The decision about ticks is a pure function: decide reads no clock and no store. See
// docs/design/cronwrap-ticks.md.

// view is what a replica knows when it decides.
type view struct {
	now   time.Time
	last  lease.Tick // what the store remembers; zero with MutualExclusion
	due   []dueTick  // what came due here and is not settled, in order
	first time.Time  // what came due here first
	held  bool       // the key is ours alone: no run of another is under way
	spans []span     // in order, what matters of them
}

// dueTick is a tick that came due in this process.
type dueTick struct {
	tick time.Time
	came time.Time // when cron said so

	// asked: the wait for the key was over while an earlier run was not. The tick
	// does not run here; what became of it is learned from the store.
	asked bool
}

// span is the time of a run in this process.
type span struct{ began, ended time.Time }

// plan is what to do.
type plan struct {
	settled []settled   // due ticks that need nothing more
	run     []time.Time // in order; the first is next, the others are decided anew after it

	rerun   bool      // run[0] was begun by others, who are gone
	dead    bool      // and too often: it is to be marked dead
	attempt int       // of run[0]
	gap     bool      // run[0] passes over ticks that are not accounted for
	since   time.Time // the last run that did, then
	missed  int       // how many of run did not come due here

	open bool // a run is not over, and somebody has to be there if it never is
}

// settled is a due tick with the reason why it needs no run here.
type settled struct {
	tick time.Time
	why  error
}

// decide returns what is to be done about the job's ticks.
func (o *jobOptions) decide(v view, s schedule) plan {
	p := plan{attempt: 1, since: v.last.Since}
	settle := func(tick time.Time, why error) { p.settled = append(p.settled, settled{tick, why}) }
	unfinished := o.again && !v.last.At.IsZero() && !v.last.Done
	var owed []time.Time
	for _, d := range v.due {
		switch {
		case unfinished && d.tick.Equal(v.last.At):
			// Until its run is over.
		case !v.last.At.IsZero() && !d.tick.After(v.last.At):
			why := errDealtWith
			if d.tick.Before(v.last.Since) {
				why = ErrMissed
			}
			settle(d.tick, why)
		case d.asked:
		case o.overlapped(d.tick, v.spans):
			settle(d.tick, errOverlap)
		default:
			owed = append(owed, d.tick)
		}
	}
	if o.missed == 0 && len(owed) > 1 {
		latest := owed[len(owed)-1]
		owed = slices.DeleteFunc(owed, func(t time.Time) bool {
			switch {
			case t.Equal(latest):
				return false
			case o.exclusive, o.wait && during(v.spans, t, 0):
				settle(t, errSuperseded)
				return true
			case v.now.Sub(t) > attemptTimeout:
				settle(t, ErrMissed)
				return true
			}
			return false
		})
	}
	missed := o.missedTicks(v, s)
	p.missed, p.run = len(missed), slices.Concat(missed, owed)
	slices.SortFunc(p.run, time.Time.Compare)
	switch {
	case unfinished && v.held:
		p.run = slices.Insert(p.run, 0, v.last.At.In(s.location))
		p.rerun, p.attempt, p.dead = true, v.last.Attempts+1, v.last.Attempts >= o.attempts
	case len(p.run) > 0 && !v.last.At.IsZero():
		next := s.after(o.accounted(v.last.At, v.spans, s))
		if p.gap = !next.IsZero() && next.Before(p.run[0]); p.gap {
			p.since = p.run[0]
		}
		fallthrough
	default:
		p.open = unfinished
	}
	return p
}

// missedTicks returns the ticks to backfill that did not come due here.
func (o *jobOptions) missedTicks(v view, s schedule) []time.Time {
	after := v.last.At
	if after.IsZero() && !v.first.IsZero() { // the job never ran
		after = v.first.Add(-time.Microsecond)
	}
	if o.missed == 0 || after.IsZero() {
		return nil
	}
	if oldest := v.now.Add(-o.within - time.Microsecond); after.Before(oldest) {
		after = oldest
	}
	limit := o.missed
	if limit < limit+len(v.due) {
		limit += len(v.due)
	}
	ticks := slices.DeleteFunc(s.latest(after, v.now, limit), func(t time.Time) bool {
		return o.overlapped(t, v.spans) || slices.ContainsFunc(v.due, func(d dueTick) bool { return d.tick.Equal(t) })
	})
	return ticks[max(0, len(ticks)-o.missed):]
}

// grace is how long before the end of a run a tick may come due and still run after it.
// So long a tick asks for the key.
const grace = 250 * time.Millisecond

// overlapped reports whether tick came due during a run in this process, and is
// dropped for that.
func (o *jobOptions) overlapped(tick time.Time, spans []span) bool {
	return !o.wait && during(spans, tick, grace)
}

// during reports whether tick came due during a run, and not in the last rest of it.
func during(spans []span, tick time.Time, rest time.Duration) bool {
	return slices.ContainsFunc(spans, func(s span) bool {
		return tick.After(s.began) && !tick.After(s.ended.Add(-rest))
	})
}

// accounted returns the last tick from tick on up to which each was overlapped by a run
// in this process, or superseded: what the end of tick's run settles.
func (o *jobOptions) accounted(tick time.Time, spans []span, s schedule) time.Time {
	for _, sp := range spans {
		switch next := s.after(tick); {
		case o.wait && o.missed > 0, next.IsZero():
			return tick
		case next.After(sp.ended):
			continue
		case !next.After(sp.began):
			return tick
		}
		if o.wait { // all but the latest
			if due := s.latest(tick, sp.ended, 2); len(due) == 2 {
				tick = due[0]
			}
		} else if due := s.latest(tick, sp.ended.Add(-grace), 1); len(due) == 1 {
			tick = due[0]
		}
	}
	return tick
}
