package guardtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var (
	_ lease.Store   = (*Store)(nil)
	_ lease.Watcher = (*Store)(nil)
)

// Store is an in-memory [lease.Store] and [lease.Watcher]. All methods are
// safe for concurrent use.
type Store struct {
	process string // in the owner ids made here

	mu      sync.Mutex // never held while waiting, nor while calling a wake
	keys    map[string]*keyState
	watches map[string]lease.Waker // by owner
	wakes   []func()               // to call once mu is free
	owners  int64                  // last sequence of an owner id
	tickets int64                  // last ticket of any queue
	fence   int64                  // last token minted, for all keys
	ticks   map[string]lease.Tick  // the last of each key; made by the first claim

	turns     map[string]int64                     // of the latest newcomer of each key; made by the first
	listeners map[int]func(lease.Stop) (told bool) // by number; made by the first
	listened  int                                  // last number

	delay  time.Duration
	faults []*Fault
	calls  map[Op]int
}

// NewStore returns an empty store that works without fault.
func NewStore() *Store {
	return &Store{
		process: rand.Text(),
		keys:    make(map[string]*keyState),
		watches: make(map[string]lease.Waker),
		calls:   make(map[Op]int),
	}
}

// NewOwner implements [lease.Store]. The owner's name is "guardtest".
func (s *Store) NewOwner(metadata string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners++
	return lease.OwnerID(s.process, uint64(s.owners), "guardtest", metadata)
}

// Acquire implements [lease.Store].
func (s *Store) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	var reply lease.AcquireReply
	err := s.call(ctx, OpAcquire, []string{r.Key}, func(int) { reply = s.acquireLocked(r) })[0]
	if err != nil {
		return lease.AcquireReply{}, err
	}
	return reply, nil
}

// Renew implements [lease.Store].
func (s *Store) Renew(ctx context.Context, rs []lease.RenewRequest) []lease.RenewReply {
	keys := make([]string, len(rs))
	for i, r := range rs {
		keys[i] = r.Key
	}
	replies := make([]lease.RenewReply, len(rs))
	errs := s.call(ctx, OpRenew, keys, func(i int) { replies[i] = s.renewLocked(rs[i]) })
	for i, err := range errs {
		if err != nil {
			replies[i] = lease.RenewReply{Err: err}
		}
	}
	return replies
}

// Release implements [lease.Store].
func (s *Store) Release(ctx context.Context, r lease.ReleaseRequest) (lease.ReleaseReply, error) {
	var reply lease.ReleaseReply
	err := s.call(ctx, OpRelease, []string{r.Key}, func(int) { reply = s.releaseLocked(r) })[0]
	if err != nil {
		return lease.ReleaseReply{}, err
	}
	return reply, nil
}

// errNoReply marks a call that gets no reply until ctx ends.
var errNoReply = errors.New("no reply")

// call is one round trip: half of the delay, the effect on each key unless a fault
// prevents it, and the other half. Error i belongs to key i.
func (s *Store) call(ctx context.Context, op Op, keys []string, effect func(i int)) []error {
	errs := make([]error, len(keys))
	fail := func(err error) []error {
		for i := range errs {
			errs[i] = fmt.Errorf("guardtest: %s: %w", op, err)
		}
		return errs
	}

	s.mu.Lock()
	s.calls[op]++
	delay := s.delay
	s.mu.Unlock()

	sleep(ctx, delay/2)
	s.mu.Lock()
	if err := ended(ctx); err != nil { // late: the server would refuse it
		s.mu.Unlock()
		return fail(err)
	}
	unanswered := false
	for i, key := range keys {
		fault := s.takeFaultLocked(op, key)
		if fault == nil || fault.Lost {
			effect(i)
		}
		if fault != nil {
			errs[i] = fault.Err
			if fault.Err == nil {
				errs[i], unanswered = errNoReply, true
			}
		}
	}
	wakes := s.wakes
	s.wakes = nil
	s.mu.Unlock()
	// Without mu: a wake may take locks that other callers of the store hold.
	for _, wake := range wakes {
		wake()
	}

	sleep(ctx, delay-delay/2)
	if err := ended(ctx); err != nil && delay > 0 {
		return fail(err)
	}
	if !unanswered {
		return errs
	}
	<-ctx.Done()
	for i, err := range errs {
		if errors.Is(err, errNoReply) {
			errs[i] = fmt.Errorf("guardtest: %s: %w: %w", op, err, ctx.Err())
		}
	}
	return errs
}

// sleep returns after d, or as soon as ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// ended is ctx.Err, except that it also compares the clock: at the very instant of the
// deadline, before its timer runs, a ctx counts as ended. So tests on fake time are
// deterministic.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}
