package keep

import (
	"context"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/internal/pending"
	"github.com/jobguard/jobguard/guard/lease"
)

// Keeper keeps one process's leases in one store.
type Keeper struct {
	store lease.Store
	base  time.Time // origin of instants

	ctx  context.Context // parent of cleaners' and candidates' store calls; ends with Drain
	stop context.CancelFunc
	work pending.Counter // goroutines and cleaners under way

	mu       sync.Mutex // see the package comment
	renewals schedule
	expiries timetable // when trust ends, as far as it was known then
}

// New returns a Keeper over store. It starts nothing.
func New(store lease.Store) *Keeper {
	k := &Keeper{store: store, base: time.Now()}
	k.renewals.base, k.renewals.call, k.renewals.most = k.base, k.flush, maxFlushers
	k.expiries.base, k.expiries.call = k.base, k.expire
	k.ctx, k.stop = context.WithCancel(context.Background())
	return k
}

// Store returns the store that the Keeper was made for.
func (k *Keeper) Store() lease.Store { return k.store }

// Lock takes the mutex of all leases. A successor may guard its own state by it.
func (k *Keeper) Lock() { k.mu.Lock() }

// Unlock undoes Lock.
func (k *Keeper) Unlock() { k.mu.Unlock() }

// Context is the parent of store calls that no caller waits for. It ends with Drain.
func (k *Keeper) Context() context.Context { return k.ctx }

// Go runs f on a goroutine that Drain waits for.
func (k *Keeper) Go(f func()) {
	k.work.Begin()
	go func() {
		defer k.work.End()
		f()
	}()
}

// Drain waits until no goroutine of the Keeper is left, at most until ctx ends;
// then it breaks off the store calls still under way. Call it when the last hold
// has ended.
func (k *Keeper) Drain(ctx context.Context) {
	k.work.Wait(ctx)
	k.stop()
}

// Left counts planned renewals and expiries, and goroutines. It is 0 when
// nothing is held.
func (k *Keeper) Left() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.renewals.entries) + len(k.expiries.entries) + k.renewals.flushers + k.work.Left()
}

// instant is a time of the monotonic clock, in ns since Keeper.base: a third of
// the size of a time.Time.
type instant int64

func (k *Keeper) instant(t time.Time) instant { return instant(t.Sub(k.base)) }

func (k *Keeper) time(i instant) time.Time { return k.base.Add(time.Duration(i)) }
