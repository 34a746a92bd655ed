package cronwrap

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/option"
	"github.com/jobguard/jobguard/guard/internal/pending"
	"github.com/jobguard/jobguard/guard/internal/validkey"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/internal/panics"
)

// Runner adds guarded jobs to a cron. It is safe for concurrent use, and starts
// no goroutine before cron does.
type Runner struct {
	cron  *cron.Cron
	guard *guard.Guard
	opts  options

	ctx     context.Context // parent of the jobs' contexts; ends when Shutdown cancels runs
	cancel  context.CancelCauseFunc
	closing context.Context // ends with the first Shutdown
	close   context.CancelFunc
	work    pending.Counter // goroutines of jobs; begun under mu, and not after close
	slots   chan struct{}   // taken by the jobs that backfill

	adding  sync.Mutex // guards job.id; held while calling cron, whose goroutine never takes it
	entries *snapshots

	mu    sync.Mutex   // never held while calling cron, the store or the user's code
	clock atomic.Int64 // set by tests: how far this process's clock is ahead of the true time
}

// New returns a Runner of c's jobs under g, or an error that names the option that is
// out of bounds. It does not start c. A nil c or g panics. If g sets Wait, which is
// better left unset, it replaces the 250 ms or the unlimited time for which a tick waits.
// A MinHold only makes sense with MutualExclusion.
func New(c *cron.Cron, g *guard.Guard, opts ...Option) (*Runner, error) {
	switch {
	case c == nil:
		panic("cronwrap: nil Cron")
	case g == nil:
		panic("cronwrap: nil Guard")
	}
	o, err := option.Apply(options{onError: logError, maxSkew: time.Minute, backfills: 4}, "an Option", opts)
	if err != nil {
		return nil, fmt.Errorf("cronwrap: %w", err)
	}
	r := &Runner{
		cron: c, guard: g, opts: o,
		entries: newSnapshots(c.Entries),
		slots:   make(chan struct{}, o.backfills),
	}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	r.closing, r.close = context.WithCancel(context.Background())
	return r, nil
}

// Add adds a job that comes due as spec says, in the format and the location of cron.
// An @every is counted from 1 January 1970 UTC, in whole seconds, so that all replicas
// agree on it: "@every 24h" is midnight UTC.
//
// name is the key under which the job runs, the same in all replicas, and the guard's
// Name, unless that is set. fn's context ends with cause guard.ErrLost when the lease is
// lost, and guard.ErrClosed when [Runner.Shutdown] cancels runs. [Tick], [JobName] and
// [Attempt] read it. A nil fn panics.
//
// Errors: of the parser and of options, guard.ErrInvalidKey, [ErrDuplicate],
// [ErrNoTicks], [ErrSchedule], and guard.ErrClosed after Shutdown. A job whose entry was
// removed from cron can be added again.
func (r *Runner) Add(spec, name string, fn func(context.Context) error, opts ...JobOption) (cron.EntryID, error) {
	s, err := r.parse(spec)
	if err == nil {
		err = exact(spec, s)
	}
	if err != nil {
		return 0, fmt.Errorf("cronwrap: job %q: spec %q: %w", name, spec, err)
	}
	return r.AddSchedule(s, name, fn, opts...)
}

// AddSchedule is Add for a schedule of your own. Its Next must depend on nothing but its
// argument, return a later time, and be the same in all replicas: an @every inside a
// wrapper, for example, is refused with [ErrSchedule]; a panic in it is an error too. A nil s panics.
func (r *Runner) AddSchedule(s cron.Schedule, name string, fn func(context.Context) error, opts ...JobOption) (cron.EntryID, error) {
	switch {
	case s == nil:
		panic("cronwrap: nil Schedule")
	case fn == nil:
		panic("cronwrap: nil fn")
	}
	j, err := r.newJob(s, name, fn, opts)
	if err != nil {
		return 0, fmt.Errorf("cronwrap: job %q: %w", name, err)
	}
	r.adding.Lock()
	defer r.adding.Unlock()
	if r.find(name).Valid() {
		return 0, fmt.Errorf("cronwrap: job %q: %w", name, ErrDuplicate)
	}
	j.id = r.cron.Schedule(starting{j}, j)
	return j.id, nil
}

// find returns the entry of the job of that name, or a zero one.
func (r *Runner) find(name string) cron.Entry {
	for _, e := range r.cron.Entries() {
		if j, ok := e.Job.(*job); ok && j.Runner == r && j.name == name {
			return e
		}
	}
	return cron.Entry{}
}

func (r *Runner) newJob(s cron.Schedule, name string, fn func(context.Context) error, opts []JobOption) (*job, error) {
	j := &job{Runner: r, name: name, fn: fn, added: r.now(), status: JobStatus{Name: name}, warned: make(map[string]bool)}
	var err error
	if j.opts, err = newJobOptions(opts); err != nil {
		return nil, err
	}
	if err := validkey.Check(name); err != nil {
		return nil, fmt.Errorf("%w: %w", guard.ErrInvalidKey, err)
	}
	if r.closing.Err() != nil {
		return nil, guard.ErrClosed
	}
	if ticks, ok := r.guard.Store().(lease.TickStore); !j.opts.exclusive && !ok {
		return nil, ErrNoTicks
	} else if !j.opts.exclusive {
		j.ticks = ticks
	}
	if j.schedule, err = newSchedule(s, r.cron.Location(), j.opts.local); err != nil {
		return nil, err
	}
	g := r.guard.With(guard.Fallback(guard.Name(name)))
	j.askOnce, j.queue = g.With(guard.Wait(0)), g.With(guard.Fallback(guard.Forever()))
	wait := guard.Wait(grace)
	switch {
	case j.opts.missed > 0, j.opts.wait:
		wait = guard.Forever()
	case j.opts.exclusive:
		wait = guard.Wait(0)
	}
	j.ask = g.With(guard.Fallback(wait))
	return j, nil
}

// parse uses cron's own parser, which is reachable only by adding an entry. The usual one
// panics at a zone without fields.
func (r *Runner) parse(spec string) (s cron.Schedule, err error) {
	err = panics.Call(func() error {
		id, err := r.cron.AddFunc(spec, func() {})
		if err != nil {
			return err
		}
		s = r.cron.Entry(id).Schedule
		r.cron.Remove(id)
		return nil
	})
	return s, err
}

// starting is the schedule that cron gets. cron calls its Next first when it starts,
// or at once if it runs: the time to look for missed ticks.
type starting struct{ job *job }

func (s starting) Next(t time.Time) time.Time {
	j := s.job
	if j.opts.missed > 0 && !j.started.Load() && j.begin() {
		go j.start() // this is cron's goroutine, which must not wait
	}
	return j.schedule.Next(t.Add(j.ahead())).Add(-j.ahead())
}

// begin counts a goroutine that Shutdown waits for. After Shutdown none begins.
func (r *Runner) begin() (begun bool) {
	r.locked(func() {
		if begun = r.closing.Err() == nil; begun {
			r.work.Begin()
		}
	})
	return begun
}

func (r *Runner) locked(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
}

// now is the time by this process's clock.
func (r *Runner) now() time.Time { return time.Now().Add(r.ahead()) }

func (r *Runner) ahead() time.Duration { return time.Duration(r.clock.Load()) }
