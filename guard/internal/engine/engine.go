package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// The kinds of failure. Package guard exports these very values.
var (
	ErrBusy        = errors.New("busy: somebody else holds the key")
	ErrLost        = errors.New("lease lost")
	ErrUnavailable = errors.New("lease store unavailable")
	ErrClosed      = errors.New("guard is shut down")
	ErrMaxHold     = errors.New("held longer than MaxHold")
)

// Forever as Options.Wait means: until the context ends.
const Forever time.Duration = -1

// Options of one Acquire. They are validated by package guard.
type Options struct {
	TTL      time.Duration
	Margin   time.Duration // trust ends this long before the TTL does
	Wait     time.Duration // how long to stand in line; 0 tries once; Forever
	MinHold  time.Duration // the key stays shut at least so long after the grant
	Limit    lease.Limit   // how many may hold the key at once
	Metadata string        // travels in the owner id

	// Saw, if not nil, is told who has the key while Acquire waits. Read it when
	// Acquire has returned.
	Saw *Sighting
}

// Sighting is what a call of Acquire saw of others who had the key.
type Sighting struct {
	Held   bool   // somebody had it
	Holder string // who did last, as far as known: an owner id or a foreign value
}

// terms are the Options that a lease keeps to. A tenure acquired under the same
// serves another caller as well.
type terms struct {
	TTL, Margin, MinHold time.Duration
	Limit                lease.Limit
}

func (o Options) terms() terms {
	return terms{TTL: o.TTL, Margin: o.Margin, MinHold: o.MinHold, Limit: o.Limit}
}

// moment is a time of the monotonic clock, in ns since Engine.base: a third of
// the size of a time.Time.
type moment int64

func (e *Engine) moment(t time.Time) moment { return moment(t.Sub(e.base)) }

func (m moment) time(e *Engine) time.Time { return e.base.Add(time.Duration(m)) }

// Engine keeps one process's leases in one store.
type Engine struct {
	store   lease.Store
	watcher lease.Watcher // nil if waiters can only poll
	base    time.Time     // origin of the monotonic instants below

	ctx  context.Context // parent of every store call; ends with the last patience of Drain
	stop context.CancelFunc

	closed chan struct{} // closed by Close

	mu    sync.Mutex
	lines map[string]*line // keys somebody here holds alone, or waits to
	rtt   time.Duration    // smoothed round trip of acquires, for claim times
	work  int              // contenders, cleaners and flushers under way
	idle  chan struct{}    // closed and cleared when work falls to 0; nil if nobody waits

	renewals schedule
	expiries timetable // when trust ends, as far as it was known then
}

// New returns an engine over store. It starts nothing.
func New(store lease.Store) *Engine {
	e := &Engine{
		store:  store,
		base:   time.Now(),
		closed: make(chan struct{}),
		lines:  make(map[string]*line),
	}
	e.renewals.base, e.renewals.call, e.renewals.most = e.base, e.flush, maxFlushers
	e.expiries.base, e.expiries.call = e.base, e.expire
	e.watcher, _ = store.(lease.Watcher)
	e.ctx, e.stop = context.WithCancel(context.Background())
	return e
}

// Store returns the store the engine was made for.
func (e *Engine) Store() lease.Store { return e.store }

// Close refuses new acquisitions and answers every waiter with ErrClosed.
// Holds go on as before. Calling it again does nothing.
func (e *Engine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.isClosed() {
		close(e.closed)
	}
}

func (e *Engine) isClosed() bool {
	select {
	case <-e.closed:
		return true
	default:
		return false
	}
}

// Drain waits until no goroutine of the engine is left, at most until ctx ends;
// then it breaks off the store calls still under way. Call it after Close, when
// the last hold has ended.
func (e *Engine) Drain(ctx context.Context) {
	e.mu.Lock()
	var idle chan struct{}
	if e.work > 0 {
		if e.idle == nil {
			e.idle = make(chan struct{})
		}
		idle = e.idle
	}
	e.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-ctx.Done():
		}
	}
	e.stop()
}

// spawnLocked runs f on a goroutine that Drain waits for.
func (e *Engine) spawnLocked(f func()) {
	e.work++
	go func() {
		defer e.done()
		f()
	}()
}

func (e *Engine) done() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.work--
	if e.work == 0 && e.idle != nil {
		close(e.idle)
		e.idle = nil
	}
}

// Failure says why Acquire gave no hold.
type Failure struct {
	Kind       error         // one of the sentinels, or the context's error
	Err        error         // the cause, if there is one to add
	Holder     string        // who holds the key, when known: an owner id or a foreign value
	RetryAfter time.Duration // until the holder's lease expires unless renewed; 0 if unknown
	Attempts   int           // store calls made for this line so far
}

func (f *Failure) Error() string { return f.Kind.Error() }

// Left counts what the engine keeps: lines, what is planned, and goroutines.
// It is 0 when nobody holds or waits, and for tests.
func (e *Engine) Left() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.lines) + len(e.renewals.entries) + len(e.expiries.entries) + e.renewals.flushers + e.work
}
