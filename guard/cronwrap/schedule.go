package cronwrap

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/internal/panics"
)

// schedule is when a job comes due. It has no state, so all processes compute the
// same ticks.
type schedule struct {
	cron.Schedule
	location *time.Location // of cron: the zone of specs without one
}

// newSchedule returns s as a Runner uses it, or why it cannot.
func newSchedule(s cron.Schedule, location *time.Location, oncePerLocal bool) (schedule, error) {
	every, isEvery := s.(cron.ConstantDelaySchedule)
	switch {
	case isEvery && every.Delay <= 0:
		return schedule{}, fmt.Errorf("interval %v is not positive", every.Delay)
	case isEvery:
		s = aligned(every.Delay)
	}
	if err := panics.Call(func() error { return tried(s, location) }); err != nil {
		return schedule{}, err
	}
	if oncePerLocal && !isEvery {
		s = oncePerLocalTime{s}
	}
	return schedule{s, location}, nil
}

// tried asks s for its next tick, twice.
func tried(s cron.Schedule, location *time.Location) error {
	now := time.Now().In(location)
	next := s.Next(now)
	if next.IsZero() {
		return errors.New("it never comes due")
	}
	if again := s.Next(next.Add(-1)); !next.After(now) || !again.Equal(next) {
		return fmt.Errorf("%w (after %v it says %v, and just before that %v)", ErrSchedule, now, next, again)
	}
	return nil
}

// after returns the first tick after t, or the zero time.
func (s schedule) after(t time.Time) time.Time {
	if next := s.Next(t.In(s.location)); next.After(t) {
		return next
	}
	return time.Time{}
}

// has reports whether t is one of its ticks.
func (s schedule) has(t time.Time) bool { return s.after(t.Add(-time.Microsecond)).Equal(t) }

// latest returns the latest limit ticks in (after, until], in order. A schedule can only
// be asked forwards, so it searches windows before until that grow.
func (s schedule) latest(after, until time.Time, limit int) []time.Time {
	for window := time.Minute; ; window *= 4 {
		from := until.Add(-window)
		whole := window > 1<<60 || !from.After(after)
		if whole {
			from = after
		}
		if ticks := s.between(from, until, limit); whole || len(ticks) == limit {
			return ticks
		}
	}
}

// between returns the last limit ticks in (from, until]. It stops where the schedule
// does not go forwards.
func (s schedule) between(from, until time.Time, limit int) (ticks []time.Time) {
	for at := s.after(from); !at.IsZero() && !at.After(until); at = s.after(at) {
		if len(ticks)-limit == limit { // not at each tick: that is cheap for any limit
			ticks = append(ticks[:0], ticks[limit:]...)
		}
		ticks = append(ticks, at)
	}
	return ticks[max(0, len(ticks)-limit):]
}

// aligned is an interval counted from 1 January 1970 UTC. cron's own counts from the
// start of the process, so that no two processes have a tick in common.
type aligned time.Duration

func (a aligned) Next(t time.Time) time.Time {
	rest := t.UnixNano() % int64(a)
	if rest < 0 { // before 1970
		rest += int64(a)
	}
	return t.Add(time.Duration(int64(a) - rest))
}

// exact returns an error for an interval that cron would round to whole seconds.
func exact(spec string, s cron.Schedule) error {
	every, isEvery := s.(cron.ConstantDelaySchedule)
	_, interval, _ := strings.Cut(spec, "@every ")
	if d, err := time.ParseDuration(interval); isEvery && err == nil && d != every.Delay {
		return fmt.Errorf("cron would round %v to %v", d, every.Delay)
	}
	return nil
}

// oncePerLocalTime leaves out the second of two ticks at the same local time.
type oncePerLocalTime struct{ cron.Schedule }

func (o oncePerLocalTime) Next(t time.Time) time.Time {
	for {
		next := o.Schedule.Next(t)
		// Not later: there is none, or the schedule does not go forwards.
		if !next.After(t) || !next.Before(repeatedUntil(next, zoneOf(o.Schedule, next))) {
			return next
		}
		t = next
	}
}

// zoneOf is the zone of a schedule. A spec can have its own.
func zoneOf(s cron.Schedule, t time.Time) *time.Location {
	if spec, ok := s.(*cron.SpecSchedule); ok && spec.Location != time.Local {
		return spec.Location
	}
	return t.Location()
}

// repeatedUntil returns when the local times that clocks show for the second time end;
// t itself or earlier if no time is repeated at t.
func repeatedUntil(t time.Time, zone *time.Location) time.Time {
	changed, _ := t.In(zone).ZoneBounds()
	if changed.IsZero() {
		return t
	}
	_, before := changed.Add(-1).In(zone).Zone()
	_, now := changed.Zone()
	return changed.Add(time.Duration(before-now) * time.Second)
}
