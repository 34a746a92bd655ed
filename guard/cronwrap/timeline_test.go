package cronwrap_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

const (
	ms = time.Millisecond
	s  = time.Second
	m  = time.Minute
	h  = time.Hour
)

// timeline is what happens to a fleet of one job, "report", under testing/synctest. It
// begins with one replica, at second 0, which is also the epoch of @every:
//
//	fleet(t, "@every 10s", cronwrap.CatchUp(9, h)).at(15*s, stop).at(53*s, start(3)).at(61*s).ran(10, 20, 30, 40, 50, 60)
type timeline struct {
	*testing.T

	spec  string
	zone  *time.Location
	opts  []any // guard.Option, cronwrap.Option, cronwrap.JobOption
	body  func(*timeline, context.Context) error
	over  func(*guardtest.Store) lease.Store // what the replicas get, if not the store itself
	steps []step

	begun    time.Time
	store    *guardtest.Store
	replicas []*replica
	history
}

type step struct {
	at time.Duration
	do []action
}

// action is what happens, or is checked, at a time.
type action func(*timeline)

// fleet returns a timeline of a job with spec and options of a job, a Runner, or a guard.
func fleet(t *testing.T, spec string, opts ...any) *timeline {
	return (&timeline{T: t, spec: spec, zone: time.UTC, opts: opts}).at(0, start(1))
}

// later is fleet with no replica before the first start.
func later(t *testing.T, spec string, opts ...any) *timeline {
	return &timeline{T: t, spec: spec, zone: time.UTC, opts: opts}
}

func (f *timeline) at(d time.Duration, do ...action) *timeline {
	f.steps = append(f.steps, step{d, do})
	return f
}

// job sets what a run does after it was recorded.
func (f *timeline) job(body func(*timeline, context.Context) error) *timeline {
	f.body = body
	return f
}

func (f *timeline) lasting(d time.Duration) *timeline {
	return f.job(func(*timeline, context.Context) error { time.Sleep(d); return nil })
}

// ran lives the timeline to its last step, wants these ticks to have run, in this order,
// and nothing to have been reported that told did not want.
func (f *timeline) ran(seconds ...int) { f.Helper(); f.live(ran(seconds...)) }

// live lives the timeline, with a last check.
func (f *timeline) live(last ...action) {
	f.Helper()
	t := f.T
	synctest.Test(t, func(t *testing.T) {
		f.T, f.begun, f.store = t, time.Now(), guardtest.NewStore()
		t.Cleanup(func() { stop(f) })
		for i, s := range f.steps {
			if i == len(f.steps)-1 {
				s.do = append(s.do, last...)
			}
			time.Sleep(time.Until(f.begun.Add(s.at)))
			synctest.Wait()
			for _, do := range s.do {
				do(f)
			}
		}
		for _, e := range f.reported() {
			t.Errorf("reported, and not wanted: %v", e)
		}
	})
}

// second is a time in seconds after the beginning; -1 for no time.
func (f *timeline) second(t time.Time) int {
	if t.IsZero() {
		return -1
	}
	return int(t.Sub(f.begun).Round(s/1000) / s)
}

func (f *timeline) time(second int) time.Time { return f.begun.Add(time.Duration(second) * s) }

// replica is one process of a fleet: it shares nothing with others but the store.
type replica struct {
	*cronwrap.Runner
	cron  *cron.Cron
	guard *guard.Guard
	entry cron.EntryID
}

// join makes a replica whose job is not started.
func (f *timeline) join(spec string) *replica {
	var guards []guard.Option
	runners := []cronwrap.Option{cronwrap.OnError(f.failed)}
	var jobs []cronwrap.JobOption
	for _, o := range f.opts {
		switch o := o.(type) {
		case guard.Option:
			guards = append(guards, o)
		case cronwrap.Option:
			runners = append(runners, o)
		case cronwrap.JobOption:
			jobs = append(jobs, o)
		default:
			f.Fatalf("%T is no option", o)
		}
	}
	var store lease.Store = f.store
	if f.over != nil {
		store = f.over(f.store)
	}
	c := cron.New(cron.WithSeconds(), cron.WithLocation(f.zone))
	r := newRunner(f, store, c, guards, runners)
	id, err := r.Add(spec, "report", f.record(func(ctx context.Context) error {
		if f.body == nil {
			return nil
		}
		return f.body(f, ctx)
	}), jobs...)
	if err != nil {
		f.Fatal(err)
	}
	r.entry = id
	return r
}

func newRunner(t testing.TB, store lease.Store, c *cron.Cron, guards []guard.Option, opts []cronwrap.Option) *replica {
	t.Helper()
	g, err := guard.New(store, guards...)
	if err != nil {
		t.Fatal(err)
	}
	r, err := cronwrap.New(c, g, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return &replica{Runner: r, cron: c, guard: g}
}

func (r *replica) shutdown(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*m)
	defer cancel()
	if err := errors.Join(r.Shutdown(ctx), r.guard.Shutdown(ctx)); err != nil {
		t.Error(err)
	}
}

// start lets so many replicas join.
func start(n int) action {
	return func(f *timeline) {
		for range n {
			skewed(0)(f)
		}
	}
}

// skewed lets a replica join whose clock is so far ahead of the true time.
func skewed(ahead time.Duration) action {
	return func(f *timeline) {
		r := f.join(f.spec)
		r.SetClock(ahead)
		f.replicas = append(f.replicas, r)
		r.cron.Start()
	}
}

// stop shuts all replicas down.
func stop(f *timeline) {
	for _, r := range f.replicas {
		r.shutdown(f)
	}
	f.replicas = nil
}

// kill shuts all replicas down without time for their runs.
func kill(f *timeline) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for _, r := range f.replicas {
		_ = r.Shutdown(gone) // an error if it had to cancel
		_ = r.guard.Shutdown(context.Background())
	}
	f.replicas = nil
}

// each calls do for each replica.
func each(do func(*replica)) action {
	return func(f *timeline) {
		for _, r := range f.replicas {
			do(r)
		}
	}
}

var errDown = errors.New("down")

func down(f *timeline) { f.store.Fail(errDown) }
func up(f *timeline)   { f.store.Fail(nil) }

// forget empties the store, of which no replica is left.
func forget(f *timeline) { f.store = guardtest.NewStore() }

// fault injects one.
func fault(x guardtest.Fault) action { return func(f *timeline) { f.store.Inject(x) } }

// rival lets other code take the key, and free gives it back, or drops any lease.
func rival(f *timeline) { f.store.Hold("report", "rival") }
func free(f *timeline)  { f.store.Expire("report") }

// knock asks for the key, if others wait for it: if it is free, the store grants it to the
// head of the queue.
func knock(f *timeline) {
	g, err := guard.New(f.store, guard.Wait(0))
	if err != nil {
		f.Fatal(err)
	}
	if f.store.Waiting("report") == 0 {
		return
	}
	if err := g.Do(f.Context(), "report", nothing); !errors.Is(err, guard.ErrBusy) {
		f.Errorf("Do() = %v, want ErrBusy", err)
	}
}

// other claims a tick for another owner, under a token of its own.
func other(second int, token int64, done bool) action {
	return func(f *timeline) { f.Helper(); claim(f, "report", second, token, done) }
}

func claim(f *timeline, key string, second int, token int64, done bool) {
	f.Helper()
	r := lease.TickRequest{Key: key, Owner: f.store.NewOwner(""), At: f.time(second), Fence: token}
	if reply, err := f.store.ClaimTick(f.Context(), r); err != nil || !reply.Claimed {
		f.Fatalf("ClaimTick(%+v) = %+v, %v", r, reply, err)
	}
	if !done {
		return
	}
	if ended, err := f.store.EndTick(f.Context(), lease.TickEnd{Key: r.Key, Owner: r.Owner, At: r.At}); err != nil || !ended {
		f.Fatalf("EndTick(%v) = %t, %v", r.At, ended, err)
	}
}

// began records that the job's tick of second 0 ran before the timeline.
var began = other(0, 0, true)

// ran wants these ticks to have run so far, in this order.
func ran(seconds ...int) action {
	return func(f *timeline) {
		f.Helper()
		var got []int
		for _, tick := range f.runs() {
			got = append(got, f.second(tick))
		}
		if !slices.Equal(got, seconds) {
			f.Errorf("ticks that ran: %v, want %v", got, seconds)
		}
	}
}

// told wants err to have been reported for these ticks since the last told, and no more;
// -1 is no tick.
func told(err error, seconds ...int) action {
	return func(f *timeline) {
		f.Helper()
		var got []int
		for _, e := range f.reported() {
			if !errors.Is(e, err) {
				f.Errorf("reported: %v, want %v", e, err)
			}
			got = append(got, f.second(e.Tick))
		}
		if !slices.Equal(got, seconds) {
			f.Errorf("reported for the ticks %v, want %v", got, seconds)
		}
	}
}

// tellsAnything takes what was reported for granted.
func tellsAnything(f *timeline) { f.reported() }

// nothingHeld wants no key to have holders or waiters.
func nothingHeld(f *timeline) {
	f.Helper()
	if keys := f.store.Keys(); len(keys) != 0 {
		f.Errorf("held or waited for: %v", keys)
	}
}

// history records what a fleet did.
type history struct {
	mu     sync.Mutex
	ticks  []time.Time // of runs, in the order in which they began
	when   []time.Time // they began
	errors []*cronwrap.Error
}

// record returns a job that notes its tick, and then calls body.
func (l *history) record(body func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		l.mu.Lock()
		l.ticks, l.when = append(l.ticks, cronwrap.Tick(ctx)), append(l.when, time.Now())
		l.mu.Unlock()
		return body(ctx)
	}
}

func (l *history) failed(e *cronwrap.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors = append(l.errors, e)
}

func (l *history) runs() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ticks)
}

// reported returns what was reported since the last call.
func (l *history) reported() (errs []*cronwrap.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	errs, l.errors = l.errors, nil
	return errs
}

// everyTickOnce checks that no tick ran twice, and that of those between the first
// and the last, at least atLeast, at most gaps did not run: in real time all replicas
// can be delayed at once, and then cron itself leaves ticks out.
func (l *history) everyTickOnce(t testing.TB, step time.Duration, atLeast, gaps int) {
	t.Helper()
	ticks := l.runs()
	slices.SortFunc(ticks, time.Time.Compare)
	for i := range len(ticks) - 1 {
		if ticks[i+1].Equal(ticks[i]) {
			t.Errorf("tick %v ran twice", ticks[i])
		}
	}
	if len(ticks) == 0 {
		t.Fatal("no tick ran")
	}
	all := int(ticks[len(ticks)-1].Sub(ticks[0])/step) + 1
	if all < atLeast || len(ticks) < all-gaps {
		t.Errorf("%d of %d ticks ran, want all but %d of at least %d", len(ticks), all, gaps, atLeast)
	}
}
