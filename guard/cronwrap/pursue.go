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
	"github.com/jobguard/jobguard/internal/panics"
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
	ended, failures := false, 0
	defer func() {
		j.freeSlot()
		if !ended { // fn exited the goroutine
			j.locked(func() { j.pursued = false })
		}
		j.work.End()
	}()
	var err error
	for ended = !j.more(nil); !ended; ended = !j.more(err) {
		err = panics.Call(j.once)
		switch {
		case err == nil:
			failures = 0
		case j.closing.Err() != nil:
		case !errors.Is(err, guard.ErrUnavailable), errors.Is(err, lease.ErrRefused):
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
func (j *job) once() error {
	ctx, begin, end := j.turn(j.ctx)
	defer end()
	last, err := j.remembered(ctx)
	if err != nil {
		return err
	}
	j.spans = slices.DeleteFunc(j.spans, func(s span) bool { return j.opts.missed == 0 || s.ended.Before(last.At) })
	p := j.decide(last, false)
	backfill := p.missed > 0 && !p.open
	g, asked := j.ask, time.Now()
	switch {
	case len(p.run) == 0 && !p.open:
		j.caughtUp()
		return nil
	case !backfill:
		j.freeSlot()
	case !j.slot:
		return j.takeSlot(ctx) // and look again
	case !j.entry().Valid():
		return j.leave() // it was removed from cron: it has no ticks any more
	default:
		if h, err := j.guard.Holder(ctx, j.name); err == nil && h.Owner != "" {
			return j.leave()
		}
		g = j.askOnce
	}
	t := &tenure{job: j}
	defer func() {
		if t.calling { // fn exited the goroutine
			t.tell(errGoexit)
		}
	}()
	err = g.Do(ctx, j.name, func(ctx context.Context) error {
		if !begin() {
			return guard.ErrClosed
		}
		t.granted = true
		return t.serve(ctx)
	})
	switch busy := errors.Is(err, guard.ErrBusy) && ctx.Err() == nil; {
	case t.granted:
		return t.conclude(err)
	case busy && backfill:
		return j.leave()
	case busy:
		return j.drop(ctx, asked, err)
	}
	return err
}

// leave leaves a backfill to the replica that has the key, and looks later.
func (j *job) leave() error {
	j.freeSlot()
	j.locked(func() {
		j.takeDueLocked(0) // the store remembers what ran, so these are missed ticks now
		j.look = false
	})
	j.later()
	return nil
}

// drop is for the ticks that came before asked and did not get the key in time. If the
// runner of an earlier tick has it, or after 2 s still what may be a replica that has not
// begun, it is learned later what became of them.
func (j *job) drop(ctx context.Context, asked time.Time, busy error) error {
	level := slog.LevelDebug
	forget := j.ticks == nil || j.opts.missed > 0
	for n := 1; j.ticks != nil; n++ {
		last, h, runner, program, err := j.inTheWay(ctx)
		if last.At.IsZero() && err != nil {
			return err
		}
		p := j.decide(last, false)
		switch {
		case len(p.run) == 0 && !p.open, err == nil && h.Owner == "":
			return nil // and ask again
		case !runner && !program && time.Since(asked) < attemptTimeout:
			pause(ctx, n)
			continue
		case !runner:
			level = slog.LevelWarn // a nightly job must not be dropped unnoticed
		}
		forget = forget || program
		break
	}
	var ticks []time.Time
	j.locked(func() {
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
	})
	for _, tick := range ticks {
		j.log(level, tick, busy)
	}
	return nil
}

// caughtUp notes that there is nothing to look for.
func (j *job) caughtUp() { j.locked(func() { j.look = false }) }

// lookNow looks for missed ticks.
func (j *job) lookNow() {
	begun := false
	j.locked(func() { j.look, begun = true, j.beginLocked() })
	if begun {
		j.pursue()
	}
}

// later looks for missed ticks after a pause that grows from 2 s to a minute, on a
// goroutine of its own, which ends with Shutdown.
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
		if backoff.Sleep(j.closing, d) != nil {
			return
		}
		j.locked(func() { j.retrying = false })
		if j.entry().Valid() { // else it was removed from cron
			j.lookNow()
		}
	}()
}

// start looks for missed ticks if cron runs: it has a Next then. Other code can find the
// schedule and call it too, and a process that never starts cron must not run jobs.
func (j *job) start() {
	defer j.work.End()
	if !j.entry().Next.IsZero() && j.started.CompareAndSwap(false, true) {
		j.lookNow()
	}
}

// A slot is the right of a job to backfill, of which a process has a few. takeSlot waits
// for one.
func (j *job) takeSlot(ctx context.Context) error {
	select {
	case j.slots <- struct{}{}:
		j.slot = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (j *job) trySlot() bool {
	if !j.slot {
		select {
		case j.slots <- struct{}{}:
			j.slot = true
		default:
		}
	}
	return j.slot
}

func (j *job) freeSlot() {
	if j.slot {
		j.slot = false
		<-j.slots
	}
}
