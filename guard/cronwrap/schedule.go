package cronwrap

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Shifted is a schedule whose activations are not its ticks: it spreads the load by a
// delay of its own in each process, for example, or stands for a clock that is wrong.
// Replicas agree on a tick by its scheduled time, which such a schedule must return.
type Shifted interface {
	cron.Schedule

	// Tick returns the tick that an activation belongs to. Later activations
	// have later ticks. CatchUp finds a tick whose activation comes after it, or
	// at most one hour before it.
	Tick(activation time.Time) time.Time
}

// schedule is when a job comes due. It has no state, so all processes compute the
// same ticks.
type schedule struct {
	cron.Schedule
	location *time.Location // of cron: the zone of specs without one
}

// newSchedule returns s as a Runner uses it, or why it cannot.
func newSchedule(s cron.Schedule, location *time.Location, dst DSTPolicy) (schedule, error) {
	every, isEvery := s.(cron.ConstantDelaySchedule)
	switch {
	case isEvery && every.Delay <= 0:
		return schedule{}, fmt.Errorf("interval %v is not positive", every.Delay)
	case isEvery:
		s = aligned(every.Delay)
	}
	if err := caught(func() error { return tried(s, location) }); err != nil {
		return schedule{}, err
	}
	if dst == Once && !isEvery {
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

// tick returns the tick of an activation.
func (s schedule) tick(activation time.Time) time.Time {
	if shifted, ok := s.Schedule.(Shifted); ok {
		activation = shifted.Tick(activation)
	}
	return activation.Truncate(time.Microsecond).In(s.location) // as stores keep it
}

// latest returns the latest limit ticks, in order, between after and before, unless
// that is zero, whose activations are not after now. A schedule can only be asked
// forwards, so it searches windows before now, each four times as long as the last:
// little work then, also for a tick per second.
func (s schedule) latest(after, before, now time.Time, limit int) []time.Time {
	earliest := after
	if _, ok := s.Schedule.(Shifted); ok {
		earliest = after.Add(-time.Hour) // a late tick can have an early activation
	}
	for window := time.Minute; ; window *= 4 {
		from := now.Add(-window)
		whole := window > 1<<60 || !from.After(earliest)
		if whole {
			from = earliest
		}
		if ticks := s.between(from, after, before, now, limit); whole || len(ticks) == limit {
			return ticks
		}
	}
}

// between returns the last limit ticks between after and before, as in latest, of
// the activations in (from, now]. It stops where the schedule does not go forwards.
func (s schedule) between(from, after, before, now time.Time, limit int) (ticks []time.Time) {
	last := from.In(s.location)
	for at := s.Next(last); at.After(last) && !at.After(now); last, at = at, s.Next(at) {
		tick := s.tick(at)
		if !tick.After(after) || !before.IsZero() && !tick.Before(before) {
			continue
		}
		if len(ticks)-limit == limit { // not at each tick: that is cheap for any limit
			ticks = append(ticks[:0], ticks[limit:]...)
		}
		ticks = append(ticks, tick)
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
	_, interval, found := strings.Cut(spec, "@every ")
	every, isEvery := s.(cron.ConstantDelaySchedule)
	if !found || !isEvery {
		return nil
	}
	if d, err := time.ParseDuration(interval); err == nil && d != every.Delay {
		return fmt.Errorf("cron would round %v to %v", d, every.Delay)
	}
	return nil
}

// oncePerLocalTime leaves out the second of two ticks at the same local time.
type oncePerLocalTime struct{ cron.Schedule }

func (o oncePerLocalTime) Next(t time.Time) time.Time {
	for {
		next := o.Schedule.Next(t)
		if !next.After(t) {
			return next // none, or the schedule does not go forwards
		}
		tick := o.Tick(next)
		if !tick.Before(repeatedUntil(tick, zoneOf(o.Schedule, next))) {
			return next
		}
		t = next
	}
}

// Tick keeps a Shifted schedule inside one.
func (o oncePerLocalTime) Tick(activation time.Time) time.Time {
	if shifted, ok := o.Schedule.(Shifted); ok {
		return shifted.Tick(activation)
	}
	return activation
}

// zoneOf is the zone of a schedule. A spec can have its own.
func zoneOf(s cron.Schedule, t time.Time) *time.Location {
	if spec, ok := s.(*cron.SpecSchedule); ok && spec.Location != time.Local {
		return spec.Location
	}
	return t.Location()
}

// repeatedUntil returns when the local times that clocks show for the second time
// end, if t is after the last change of clocks; t itself or earlier if no time is
// repeated at t.
func repeatedUntil(t time.Time, zone *time.Location) time.Time {
	changed, _ := t.In(zone).ZoneBounds()
	if changed.IsZero() {
		return t
	}
	_, before := changed.Add(-1).In(zone).Zone()
	_, now := changed.Zone()
	return changed.Add(time.Duration(before-now) * time.Second)
}
