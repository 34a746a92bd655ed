package queue

import (
	"context"
	"sync"

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
