package cronwrap

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/lease"
)

// errNoSlot is why a backfill gave the key back: others of this process are at work.
var errNoSlot = errors.New("too many jobs backfill at once")

// beginLocked reports whether the caller is to call pursue.
func (j *job) beginLocked() bool {
	if j.pursued || j.closing.Err() != nil {
		return false
	}
	j.pursued = true
	j.work.Begin()
	return true
}

// pursue works until no tick of the job is due here and none is to be looked for: it
// looks what the store remembers, decides, takes the key, and runs what is to run. One
// goroutine at a time does, after beginLocked.
func (j *job) pursue() {
	s := slot{of: j.slots}
	ended := false
	defer func() {
		s.free()
		if !ended { // fn exited the goroutine
			j.mu.Lock()
			j.pursued = false
			j.mu.Unlock()
		}
		j.work.End()
	}()
	failures := 0
	var err error
	for ended = !j.more(nil); !ended; ended = !j.more(err) {
		err = caught(func() error { return j.once(&s) })
		switch {
		case err == nil:
			failures = 0
		case j.closing.Err() != nil:
		case !errors.Is(err, guard.ErrUnavailable):
			j.giveUp(err, 0)
		case errors.Is(err, lease.ErrRefused):
			j.giveUp(err, 0)
		default:
			failures++
			j.giveUp(err, attemptTimeout)
			pause(j.closing, failures)
		}
	}
}

// more reports whether there is work left, after an attempt that gave err. If not,
// another goroutine may pursue.
func (j *job) more(err error) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		j.heard = time.Now()
	}
	live := j.look
	for _, d := range j.due {
		live = live || !d.asked
	}
	j.pursued = live && j.closing.Err() == nil
	return j.pursued
}

// giveUp reports err for the ticks that came at least so long ago, and puts off the
// look for missed ones.
func (j *job) giveUp(err error, age time.Duration) {
	j.mu.Lock()
	if time.Since(j.heard) < age {
		j.mu.Unlock()
		return
	}
	ticks := j.takeDueLocked(age)
	if j.look && len(ticks) == 0 && !j.down {
		ticks = append(ticks, time.Time{}) // there is none to report it for
	}
	unavailable := errors.Is(err, guard.ErrUnavailable)
	j.down = j.down || unavailable
	j.look = false
	j.mu.Unlock()
	for _, tick := range ticks {
		j.report(tick, err)
	}
	if unavailable || errors.Is(err, guard.ErrLost) {
		j.later()
	}
}

// once looks and decides, and if the key is wanted, asks for it and works under it.
func (j *job) once(s *slot) error {
	ctx, begin, end := j.turn(j.ctx)
	defer end()
	last, err := j.remembered(ctx)
	if err != nil {
		return err
	}
	j.spans = slices.DeleteFunc(j.spans, func(s span) bool { return j.opts.missed == 0 || s.ended.Before(last.At) })
	p := j.decide(last, false)
	j.settle(p.settled)
	if !p.wanted() {
		j.caughtUp()
		return nil
	}
	g, asked := j.ask, time.Now()
	switch backfill := p.missed > 0 && !p.open; {
	case !backfill:
		s.free()
	case !s.taken:
		return s.take(ctx) // and look again
	case !j.entry().Valid(): // it was removed from cron, and has missed nothing
		s.free()
		j.caughtUp()
		return nil
	default:
		if h, err := j.guard.Holder(ctx, j.name); err == nil && h.Owner != "" {
			return j.leave(s)
		}
		g = j.askOnce
	}
	t := &tenure{job: j, slot: s, asked: asked}
	defer t.exited()
	err = g.Do(ctx, j.name, func(ctx context.Context) error {
		if !begin() {
			return guard.ErrClosed
		}
		t.granted = true
		return t.work(ctx)
	})
	switch {
	case t.granted:
		return t.conclude(err)
	case errors.Is(err, guard.ErrBusy) && s.taken:
		return j.leave(s)
	case errors.Is(err, guard.ErrBusy) && ctx.Err() == nil:
		return j.drop(ctx, asked, err)
	}
	return err
}

// leave leaves a backfill to the replica that has the key, and looks later.
func (j *job) leave(s *slot) error {
	s.free()
	j.mu.Lock()
	j.takeDueLocked(0) // the store remembers what ran, so these are missed ticks now
	j.look = false
	j.mu.Unlock()
	j.later()
	return nil
}

// drop is for the ticks that came before asked and did not get the key in time. If the
// runner of an earlier tick has it, or after 2 s still what may be a replica that has not
// begun, it is learned later what became of them.
func (j *job) drop(ctx context.Context, asked time.Time, busy error) error {
	level := slog.LevelWarn // a nightly job must not be dropped unnoticed
	forget := j.ticks == nil || j.opts.missed > 0
	if j.ticks == nil {
		level = slog.LevelDebug
	}
	for n := 1; j.ticks != nil; n++ {
		last, err := j.remembered(ctx)
		if err != nil {
			return err
		}
		p := j.decide(last, false)
		j.settle(p.settled)
		h, err := j.guard.Holder(ctx, j.name)
		switch {
		case !p.wanted(), err == nil && h.Owner == "":
			return nil // and ask again
		case err == nil && h.Process == "":
			forget = true // it is another program
		case !last.Done && h.Process == lease.OwnerProcess(last.Owner):
			level = slog.LevelDebug
		case time.Since(asked) < attemptTimeout:
			pause(ctx, n)
			continue
		}
		break
	}
	var ticks []time.Time
	j.mu.Lock()
	if forget {
		ticks = j.takeDueLocked(time.Since(asked))
	}
	for i, d := range j.due {
		if !d.asked && !d.came.After(asked) {
			j.due[i].asked = true
			ticks = append(ticks, d.tick)
		}
	}
	j.look = false
	j.mu.Unlock()
	for _, tick := range ticks {
		j.log(level, tick, busy)
	}
	return nil
}

// caughtUp notes that there is nothing to look for.
func (j *job) caughtUp() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.look = false
}

// later looks for missed ticks again, after a pause that grows from 2 s to a minute, on
// a goroutine of its own. It ends with Shutdown.
func (j *job) later() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.opts.missed == 0 || j.retrying || j.closing.Err() != nil {
		return
	}
	j.retrying = true
	j.retries++
	d := backoff.Pause(j.retries, 2*time.Second, time.Minute)
	j.work.Begin()
	go func() {
		defer j.work.End()
		select {
		case <-time.After(d):
		case <-j.closing.Done():
			return
		}
		there := j.entry().Valid() // else it was removed from cron: it has no ticks any more
		j.mu.Lock()
		j.retrying, j.look = false, there
		begun := there && j.beginLocked()
		j.mu.Unlock()
		if begun {
			j.pursue()
		}
	}()
}

// start looks for missed ticks if cron runs. starting calls it; but other code can find
// the schedule in cron's entries and call its Next too, and a process that never
// starts cron must not run jobs.
func (j *job) start() {
	defer j.work.End()
	for !j.hasNext() {
		j.started.Store(false)
		// cron may have started meanwhile and found that start was called already.
		if !j.hasNext() || !j.started.CompareAndSwap(false, true) {
			return
		}
	}
	j.mu.Lock()
	j.look = true
	begun := j.beginLocked()
	j.mu.Unlock()
	if begun {
		j.pursue()
	}
}

// hasNext reports whether cron has computed when the job comes due next. It has once
// it runs, and answers only after it has asked all schedules.
func (j *job) hasNext() bool { return !j.entry().Next.IsZero() }

// slot is the right of a job to backfill, of which a process has a few.
type slot struct {
	of    chan struct{}
	taken bool
}

func (s *slot) take(ctx context.Context) error {
	select {
	case s.of <- struct{}{}:
		s.taken = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// try takes one that is free.
func (s *slot) try() bool {
	if !s.taken {
		select {
		case s.of <- struct{}{}:
			s.taken = true
		default:
		}
	}
	return s.taken
}

func (s *slot) free() {
	if s.taken {
		s.taken = false
		<-s.of
	}
}
