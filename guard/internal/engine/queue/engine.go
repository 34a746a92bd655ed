package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/lease"
)

// Engine acquires leases in one store for one process.
type Engine struct {
	keeper  *keep.Keeper
	store   lease.Store
	watcher lease.Watcher // nil if waiters can only poll
	stopper lease.Stopper // nil if holders cannot be asked to stop

	close  sync.Once
	closed chan struct{} // closed by Close

	// Guarded by the Keeper's mutex.
	queues map[string]*local    // keys that are held exclusively here, or waited for
	shared map[sharedKey]*local // the same of other limits
	nobody line                 // of all keys that nobody waits for; always empty
}

type sharedKey struct {
	key   string
	limit lease.Limit
}

// New returns an engine over store. It starts nothing.
func New(store lease.Store) *Engine {
	e := &Engine{
		keeper: keep.New(store),
		store:  store,
		closed: make(chan struct{}),
		queues: make(map[string]*local),
		shared: make(map[sharedKey]*local),
	}
	e.nobody.e = e
	e.watcher, _ = store.(lease.Watcher)
	e.stopper, _ = store.(lease.Stopper)
	return e
}

// Store returns the store the engine was made for.
func (e *Engine) Store() lease.Store { return e.store }

// Close refuses new acquisitions and answers every waiter with Closed. Holds go
// on as before. Calling it again does nothing.
func (e *Engine) Close() { e.close.Do(func() { close(e.closed) }) }

// Closed reports whether Close was called.
func (e *Engine) Closed() bool {
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
func (e *Engine) Drain(ctx context.Context) { e.keeper.Drain(ctx) }

// Left counts what the engine keeps: local queues, what is planned, and
// goroutines. It is 0 when no key is held or waited for.
func (e *Engine) Left() int {
	e.keeper.Lock()
	queues := len(e.queues) + len(e.shared)
	e.keeper.Unlock()
	return queues + e.keeper.Left()
}

// Forever as Options.Wait means: until the context ends.
const Forever time.Duration = -1

// Options of one Acquire. They are validated by package guard.
type Options struct {
	*keep.Terms
	Wait     time.Duration // how long to wait in the queue; 0 tries once; Forever
	Metadata string        // travels in the owner id
	Replace  bool          // ask whoever holds the key to stop; the store is a lease.Stopper
}

// acquireTimeout bounds one Acquire attempt, after so many failures in a row: over a
// slow link an attempt may have a connection to make. After TTL − Margin a grant
// would arrive with its trust already spent.
func (o Options) acquireTimeout(failures int) time.Duration {
	return min(o.TTL-o.Margin, 2*time.Second<<min(failures, 10))
}

// Kind tells why Acquire gave no hold.
type Kind int

// The kinds.
const (
	Busy        Kind = iota // the key is held, and the wait is over
	Unavailable             // the store failed, or did not answer in time
	Closed                  // after Close
	Unasked                 // the context ended before anything was known of the key
)

// Failure says why Acquire gave no hold.
type Failure struct {
	Kind       Kind
	Err        error         // the cause, if there is one to add
	Holder     string        // who holds the key, when known: an owner id or a foreign value
	Here       bool          // a run of this process holds it
	Replaced   bool          // Busy: a later caller took its place
	RetryAfter time.Duration // until the holder's lease expires unless renewed; 0 if unknown

	// ContextEnded: the caller's context ended the wait of a Busy or Unavailable.
	ContextEnded bool
}

// Contention is what a call of Acquire saw of the key and its other holders.
type Contention struct {
	Held   bool   // the key had a holder
	Holder string // the last one seen, as far as known: an owner id or a foreign value

	Attempts int // store calls made for this key meanwhile
}

// Acquire waits for key as opt says and returns a hold, which the caller must
// End, or the reason why there is none. When ctx ends or the engine is closed,
// Acquire returns within firstPatience, and at once if it has to wait at all; a
// grant that arrives at that very time goes to the next in the queue.
func (e *Engine) Acquire(ctx context.Context, key string, opt Options) (*keep.Hold, Contention, *Failure) {
	if ctx.Err() != nil {
		return nil, Contention{}, &Failure{Kind: Unasked}
	}
	if e.Closed() {
		return nil, Contention{}, &Failure{Kind: Closed}
	}
	w := &waiter{opt: opt, since: time.Now()}
	h, f := e.acquire(ctx, key, w)
	return h, w.seen, f
}

func (e *Engine) acquire(ctx context.Context, key string, w *waiter) (*keep.Hold, *Failure) {
	e.keeper.Lock()
	l := e.localLocked(key, w)
	ask := l.makeRoomLocked(w)
	if f := l.joinLocked(w); f != nil {
		e.keeper.Unlock()
		ask()
		return nil, f
	}
	if w.opt.Replace {
		e.keeper.Unlock()
		ask()
		e.keeper.Lock()
	}
	if c := l.firstLocked(w); c != nil {
		e.keeper.Unlock()
		c.first(ctx, w)
		e.keeper.Lock()
	}
	if w.hold != nil || w.fail != nil {
		e.keeper.Unlock()
		return e.take(ctx, w)
	}
	w.answered = make(chan struct{})
	hurry := l.lease != nil && l.lease.EndedLocked()
	e.keeper.Unlock()
	if hurry {
		e.keeper.Hurry()
	}

	var patience <-chan time.Time
	if w.opt.Wait > 0 {
		t := time.NewTimer(time.Until(w.since.Add(w.opt.Wait)))
		defer t.Stop()
		patience = t.C
	}
	select {
	case <-w.answered:
		return e.take(ctx, w)
	case <-ctx.Done():
		return e.giveUp(l, w, ctx)
	case <-e.closed:
		return e.giveUp(l, w, ctx)
	case <-patience:
		return e.giveUp(l, w, nil)
	}
}

// take returns what w was answered; a caller that is cancelled does not begin.
func (e *Engine) take(ctx context.Context, w *waiter) (*keep.Hold, *Failure) {
	if w.hold != nil && (ctx.Err() != nil || e.Closed()) {
		return e.decline(ctx, w.hold)
	}
	return w.hold, w.fail
}

// giveUp takes w out of the queue, because ctx ended or the engine was closed;
// with a nil ctx only the wait is over. If w was answered at the same time, a
// failure is returned as it is; a hold is as good as one in time when only the
// wait is over, and else goes to the next in the queue.
func (e *Engine) giveUp(l *local, w *waiter, ctx context.Context) (*keep.Hold, *Failure) { //nolint:revive // ctx is the reason, not the call's own
	e.keeper.Lock()
	f := l.leaveLocked(w)
	e.keeper.Unlock()
	switch {
	case f == nil && (w.hold == nil || ctx == nil):
		return w.hold, w.fail
	case f == nil:
		return e.decline(ctx, w.hold)
	case ctx != nil:
		f.explain(ctx)
	}
	return nil, f
}

// decline gives a hold that came too late to the next in the queue, without
// making the caller wait for the store.
func (e *Engine) decline(ctx context.Context, h *keep.Hold) (*keep.Hold, *Failure) {
	e.keeper.Go(h.Abandon)
	f := &Failure{Kind: Unasked}
	f.explain(ctx)
	return nil, f
}

// explain says why a caller left before it was answered: ctx ended, which is
// added to what f knows of the key, or else the engine was closed. That the store
// had not answered yet counts only with a deadline, which gave it time.
func (f *Failure) explain(ctx context.Context) {
	switch {
	case ctx.Err() == nil:
		*f = Failure{Kind: Closed}
	case f.Kind == Unasked, errors.Is(f.Err, errNoAnswer) && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		*f = Failure{Kind: Unasked}
	default:
		f.ContextEnded = true
	}
}

// errNoAnswer is the cause when the wait ended before the store's first reply.
var errNoAnswer = errors.New("no answer from the store yet")
