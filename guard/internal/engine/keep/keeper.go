package keep

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/internal/pending"
	"github.com/jobguard/jobguard/guard/internal/timetable"
	"github.com/jobguard/jobguard/guard/lease"
)

// Keeper keeps one process's leases in one store.
type Keeper struct {
	store lease.Store
	base  time.Time // origin of instants

	ctx  context.Context // parent of cleaners' and candidates' store calls; ends with Drain
	stop context.CancelFunc
	work pending.Counter // goroutines and cleaners under way

	roundTrip atomic.Int64 // smoothed, ns; written under mu
	later     atomic.Int32 // releases under way that no caller waits for

	mu       sync.Mutex // see the package comment; it guards what follows
	renewals schedule
	expiries timetable.Timetable[Lease] // when trust ends, as far as it was known then
	hearing  hearing
	awaited  map[*Hold]chan struct{} // holds whose end waits for events, which are being reported
	tenure   *tenure                 // of the latest lease
}

// New returns a Keeper over store. It starts nothing.
func New(store lease.Store) *Keeper {
	k := &Keeper{store: store, base: time.Now(), awaited: make(map[*Hold]chan struct{})}
	k.renewals.Timetable = timetable.New(k.base, func(l *Lease) *timetable.Place { return &l.renewal }, k.flush)
	k.renewals.most = maxFlushers
	k.expiries = timetable.New(k.base, func(l *Lease) *timetable.Place { return &l.expiry }, k.expire)
	k.ctx, k.stop = context.WithCancel(context.Background())
	k.hearing.mu, k.hearing.held, k.hearing.told = &k.mu, k.holdsLocked, k.Stop
	k.hearing.store, _ = store.(lease.Stopper)
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

// ObserveLocked folds in one measured round trip. The way to the store may have to be
// made first and is measured with it, so less counts for more.
func (k *Keeper) ObserveLocked(d time.Duration) {
	switch old := k.RoundTrip(); {
	case old == 0:
		k.roundTrip.Store(int64(d))
	case d < old:
		k.roundTrip.Store(int64(old - (old-d)/2))
	default:
		k.roundTrip.Store(int64(old + (d-old)/8))
	}
}

// RoundTrip is how long a call of the store takes; 0 before the first.
func (k *Keeper) RoundTrip() time.Duration { return time.Duration(k.roundTrip.Load()) }

// attemptTime is how long to wait for an answer at first: four round trips are enough
// for one whose connection has to be made.
func attemptTime(roundTrip time.Duration) time.Duration { return max(time.Second, 4*roundTrip) }

// Drain waits until no goroutine of the Keeper is left, at most until ctx ends;
// then it breaks off the store calls still under way. Call it when the last hold
// has ended.
func (k *Keeper) Drain(ctx context.Context) {
	k.work.Wait(ctx)
	k.stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hearing.closeLocked()
}

// tenureLocked returns terms and place in memory that leases share.
func (k *Keeper) tenureLocked(terms *Terms, place lease.Place) *tenure {
	if k.tenure == nil || k.tenure.terms != terms || k.tenure.place != place {
		k.tenure = &tenure{terms, place}
	}
	return k.tenure
}

// Left counts planned renewals and expiries, and goroutines. It is 0 when
// nothing is held.
func (k *Keeper) Left() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.renewals.Len() + k.expiries.Len() + k.renewals.flushers + k.work.Left()
}

// instant is a time of the monotonic clock, in ns since Keeper.base: a third of
// the size of a time.Time.
type instant int64

func (k *Keeper) instant(t time.Time) instant { return instant(t.Sub(k.base)) }

func (k *Keeper) time(i instant) time.Time { return k.base.Add(time.Duration(i)) }

const (
	// maxFlushers renewal batches are under way at once. The store has its own
	// bound; this one is for a shard that does not answer, whose leases keep a
	// batch until its timeout. 8 were too few for 15 000 such leases among 45 000,
	// 32 enough for twice as many.
	maxFlushers  = 64
	maxBatch     = 256 // leases in one batch
	coalesceFrac = 8   // renewals due within 1/8 of the attempt's timeout go along
)

// firstPause is the pause after a failed store call; see [backoff.Pause].
const firstPause = 10 * time.Millisecond

// schedule says when which lease is renewed. Its timer's goroutine takes what is
// due and sends it; no goroutine waits for a lease. Guarded by Keeper.mu.
type schedule struct {
	timetable.Timetable[Lease]
	flushers int
	most     int                 // flushers at once: maxFlushers, but in tests
	underWay [maxFlushers]*batch // by number, from 1 on
}

// batchNumber is that of a batch under way; 0: none. It is a byte, for each lease has one.
type batchNumber uint8

// batch is a store call under way. When the last of its leases has ended, the
// answer is of no use and the call is broken off.
type batch struct {
	left   int
	cancel context.CancelFunc
}

// planLocked puts l's next renewal at due.
func (k *Keeper) planLocked(l *Lease, due time.Time) {
	if l.ended || l.unrenewable || l.renewal.Planned() {
		return
	}
	k.renewals.Add(l, due)
	k.renewals.armLocked()
}

func (k *Keeper) unplanLocked(l *Lease) {
	k.renewals.Remove(l)
	if l.renewing != 0 {
		b := k.renewals.underWay[l.renewing-1]
		l.renewing = 0
		b.left--
		if b.left == 0 {
			b.cancel()
		}
	}
}

// armLocked sets the timer, unless there are flushers enough: the first that is
// done does it then.
func (s *schedule) armLocked() {
	if s.flushers < s.most {
		s.Arm()
	}
}

// beginLocked gives b a number. There are fewer than most.
func (s *schedule) beginLocked(b *batch) batchNumber {
	s.flushers++
	i := slices.Index(s.underWay[:], nil)
	s.underWay[i] = b
	return batchNumber(i + 1) //nolint:gosec // maxFlushers at most
}

// endLocked takes the number back; no lease has it any more.
func (s *schedule) endLocked(n batchNumber) {
	s.flushers--
	s.underWay[n-1] = nil
}

// flush runs on the timer's goroutine. It sends one batch of what is due, and
// sets the timer for the rest first, so that a stuck store call delays no other
// renewal while fewer than maxFlushers are stuck.
func (k *Keeper) flush() {
	k.mu.Lock()
	k.renewals.Fired()
	due := k.takeDueLocked()
	if len(due) == 0 {
		k.renewals.armLocked()
		k.mu.Unlock()
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	attempt := lease.NewPatientAttempt(ctx, due[0].attemptTimeoutLocked(time.Now()))
	defer attempt.End()
	number := k.renewals.beginLocked(&batch{left: len(due), cancel: cancel})
	for _, l := range due {
		l.renewing = number
	}
	k.work.Begin()
	k.renewals.armLocked()
	k.mu.Unlock()

	_ = k.renew(attempt, due) // each lease has its own outcome

	k.mu.Lock()
	k.renewals.endLocked(number)
	k.renewals.armLocked()
	k.mu.Unlock()
	k.work.End()
}

// attemptTimeoutLocked bounds the next renewal. It grows with each that failed, and leaves
// time for another before trust ends, unless that would be too short for the link.
func (l *Lease) attemptTimeoutLocked(now time.Time) time.Duration {
	d := l.terms.renewTimeout(l.k.RoundTrip())
	left := l.trustLeft(now)
	if left <= 0 {
		return d
	}
	d <<= min(l.failuresLocked(), 10)
	return max(min(d, left/2), min(4*l.k.RoundTrip(), left))
}

// takeDueLocked removes a batch from the heap: what is due now or very soon,
// as far as it goes with one attempt timeout.
func (k *Keeper) takeDueLocked() []*Lease {
	s, now := &k.renewals, time.Now()
	if s.flushers >= s.most {
		return nil
	}
	l := s.TakeUntil(now)
	if l == nil {
		return nil
	}
	timeout := l.attemptTimeoutLocked(now)
	horizon := now.Add(timeout / coalesceFrac)
	due := []*Lease{l}
	for len(due) < maxBatch {
		if l = s.First(); l == nil {
			break
		}
		if d := l.attemptTimeoutLocked(now); d < timeout || d > timeout*5/4 {
			break // one attempt does not suit both
		}
		if l = s.TakeUntil(horizon); l == nil {
			break
		}
		due = append(due, l)
	}
	return due
}

// renew asks the store once to extend leases, and applies to each its own reply.
// It returns the last error, for a single lease.
func (k *Keeper) renew(ctx context.Context, leases []*Lease) (err error) {
	rs := make([]lease.RenewRequest, len(leases))
	sent := time.Now()
	k.mu.Lock()
	for i, l := range leases {
		rs[i] = lease.RenewRequest{Key: l.key, Owner: l.owner, TTL: l.lifeLocked(sent), Limit: l.terms.Limit}
	}
	k.mu.Unlock()
	replies := k.store.Renew(ctx, rs)

	var losses []loss
	var events []func()
	measured := false
	k.mu.Lock()
	for i, l := range leases {
		l.renewing = 0
		sent := sent
		if at := replies[i].Sent; !at.IsZero() {
			sent = at
		}
		if replies[i].Err == nil && !measured {
			k.ObserveLocked(time.Since(sent))
			measured = true
		}
		lost, event := l.renewedLocked(sent, replies[i])
		if lost.h != nil {
			losses = append(losses, lost)
		}
		if event != nil {
			events = append(events, event)
		}
		if replies[i].Err != nil {
			err = replies[i].Err
		}
	}
	k.mu.Unlock()
	reportAll(losses)
	for _, event := range events {
		event()
	}
	return err
}

// renewedLocked applies one renewal's outcome and plans the next. A reply that
// comes when release has begun is void: the release may have run before the
// renewal, which then rightly found another owner.
func (l *Lease) renewedLocked(sent time.Time, r lease.RenewReply) (_ loss, event func()) {
	if l.ended || l.unrenewable {
		return loss{}, nil
	}
	switch {
	case r.Err != nil:
		// One failure loses nothing while trust lasts: try again, soon.
		l.seldom().failures++
		l.rare.err = StoreError(r.Err)
		l.k.planLocked(l, time.Now().Add(backoff.Pause(l.rare.failures, firstPause, l.terms.TTL/10)))
		return loss{}, l.holdLocked().eventLocked(Event{Kind: EventRenewFailed, Err: r.Err})
	case !r.Held:
		return l.loseLocked(&Lost{Reason: NotOwner, Holder: r.Holder}), nil
	default:
		left := max(0, l.trustLeft(time.Now()))
		if l.rare != nil {
			l.rare.failures, l.rare.err = 0, nil
		}
		l.renewals++
		if !l.lost.Load() && left > 0 {
			l.ExtendLocked(sent, l.terms.TTL)
		}
		l.k.planLocked(l, sent.Add(l.terms.RenewPause()))
		return loss{}, l.holdLocked().eventLocked(Event{Kind: EventRenewed, Left: left})
	}
}

// holdsLocked reports whether leases are held, and one of them for so long.
func (k *Keeper) holdsLocked(age time.Duration) (some, old bool) {
	now := time.Now()
	for l := range k.expiries.All() {
		if l.Age(now) >= age {
			return true, true
		}
	}
	return k.expiries.Len() > 0, false
}

// Stop ends the contexts under the lease of s.Owner, and reports whether it has one here.
func (k *Keeper) Stop(s lease.Stop) (told bool) {
	k.mu.Lock()
	l := k.findLocked(s.Owner)
	if l == nil {
		k.mu.Unlock()
		return false
	}
	tell := l.StopLocked(s)
	k.mu.Unlock()
	tell()
	return true
}

func (k *Keeper) findLocked(owner string) *Lease {
	for _, all := range []*timetable.Timetable[Lease]{&k.expiries, &k.renewals.Timetable} { // a lost lease is in the second only
		for l := range all.All() {
			if l.owner == owner {
				return l
			}
		}
	}
	return nil
}

// StoreError is err, an error of the store, without a match for the context
// errors. The context of the call that failed was the engine's own: that it ended
// must not look as if the caller's had.
func StoreError(err error) error { return storeError{err} }

type storeError struct{ err error }

func (e storeError) Error() string      { return e.err.Error() }
func (e storeError) As(target any) bool { return errors.As(e.err, target) }
func (e storeError) Is(target error) bool {
	return target != context.DeadlineExceeded && target != context.Canceled && errors.Is(e.err, target)
}
