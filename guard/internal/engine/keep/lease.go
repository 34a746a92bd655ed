package keep

import (
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/internal/timetable"
	"github.com/jobguard/jobguard/guard/lease"
)

// Terms are what a lease keeps to. They are shared, and never changed. A lease
// acquired under the same terms serves
// another caller as well.
type Terms struct {
	TTL     time.Duration
	Margin  time.Duration // trust ends this long before the TTL does
	MinHold time.Duration // the key is kept closed at least so long after the grant
	Limit   lease.Limit   // how many may hold the key at once
}

// renewEvery is the interval of renewal: two more can fail before trust ends.
func (o Terms) renewEvery() time.Duration { return o.TTL / 3 }

// RenewPause is the interval less up to a tenth by chance, so that leases which
// began together do not stay together.
func (o Terms) RenewPause() time.Duration {
	return backoff.Jitter(o.renewEvery()*9/10, o.renewEvery())
}

// Life is how long the store keeps a lease from the grant on: if the holder dies, or
// its release is lost, the key stays closed for MinHold all the same.
func (o Terms) Life() time.Duration { return max(o.TTL, o.MinHold) }

// renewTimeout bounds the first attempt to renew or to release, so that two full
// time-outs still fit between the first renewal and the end of trust.
func (o Terms) renewTimeout(roundTrip time.Duration) time.Duration {
	return min((o.TTL-o.Margin-o.renewEvery())/2, attemptTime(roundTrip))
}

// Next is what follows a lease in its process. Its methods are called with the
// Keeper's mutex held, and do no I/O.
type Next interface {
	// HandOver reports whether it has begun another hold of l in place of the one
	// that ended, with [Lease.NewHoldLocked].
	HandOver(l *Lease) bool

	// OnFree is called once, when l keeps the key from this process no longer: it
	// was lost, or its release has been answered or left to a cleaner.
	OnFree(l *Lease)
}

// Grant is what a lease begins with.
type Grant struct {
	Owner      string
	Place      lease.Place // that the owner had in the queue
	Fence      int64       // the first of TokenCount tokens
	TokenCount int

	Unknown time.Time     // the latest deadline of Acquires that went unanswered before; zero if none
	Life    time.Duration // the longest that any of them could leave something
}

// Lease is one owner id's possession of a key, from grant to release. It serves
// one hold after another. Except where said, its fields are guarded by Keeper.mu.
type Lease struct {
	// Fixed by Init.
	k    *Keeper
	next Next
	key  string

	// Fixed by BecomeLocked.
	owner string
	*tenure

	// trust is when trust ends. It only grows, and only under the mutex; it is
	// read without, by every look at a context.
	trust clocks

	// lost is set once, under the mutex, when trust has ended, and is read
	// without. rare.cause says why and is fixed before lost is set.
	lost  atomic.Bool
	ended bool // release has begun: no more renewals
	// unrenewable: no renewal is planned again.
	unrenewable bool
	renewing    batchNumber     // that a renewal is under way in
	tokens      int32           // the first hold's and those after it, for local handoffs
	expiry      timetable.Place // at trust's end or before it
	renewal     timetable.Place // the next
	renewals    int32           // how many succeeded
	rare        *rare           // nil: all zero

	first Hold // mostly the only one; its token and grant are the lease's
}

// tenure is what leases share, mostly all of them. It is never changed.
type tenure struct {
	terms *Terms
	place lease.Place
}

// rare is what most leases do not have.
type rare struct {
	hold     *Hold         // the present one, if it is not the first
	unknown  time.Time     // see Grant
	life     time.Duration // see Grant
	failures int           // of renewals, in a row
	err      error         // of the last one, nil if it succeeded
	cause    *Lost
	stopped  *Lost // why its run was asked to stop, though the lease goes on
}

// seldom returns l.rare, to be written to.
func (l *Lease) seldom() *rare {
	if l.rare == nil {
		l.rare = new(rare)
	}
	return l.rare
}

// doubt is until when unanswered Acquires from before the grant may arrive, and how long
// what they leave may live.
func (l *Lease) doubt() (unknown time.Time, life time.Duration) {
	life = max(l.terms.Life(), l.place.Reservation) // a grant from the queue lives for the reservation
	if l.rare != nil {
		unknown, life = l.rare.unknown, max(life, l.rare.life)
	}
	return unknown, life
}

// failuresLocked is how many renewals have failed in a row.
func (l *Lease) failuresLocked() int {
	if l.rare == nil {
		return 0
	}
	return l.rare.failures
}

// clocks is a time on the monotonic and on the wall clock.
type clocks struct {
	mono atomic.Int64 // ns since Keeper.base
	wall atomic.Int64 // ns since the epoch
}

// Init prepares l for a grant of key, if there will be one.
func (l *Lease) Init(k *Keeper, key string, next Next) { l.k, l.key, l.next = k, key, next }

// BecomeLocked makes l, which was not used before, the lease that was granted by g.
func (l *Lease) BecomeLocked(g Grant, terms *Terms) {
	l.owner, l.tenure = g.Owner, l.k.tenureLocked(terms, g.Place)
	if !g.Unknown.IsZero() {
		r := l.seldom()
		r.unknown, r.life = g.Unknown, g.Life
	}
	if terms.Limit == lease.Exclusive {
		l.first.Fence, l.tokens = g.Fence, int32(g.TokenCount) //nolint:gosec // thousands at most
	}
}

// Used reports whether l was granted.
func (l *Lease) Used() bool { return l.tenure != nil }

// ExtendLocked moves the end of trust to sent + life − Margin, never back, and
// returns how much trust is left. sent must lie before the answered request
// left: the server cannot have begun to count life earlier.
func (l *Lease) ExtendLocked(sent time.Time, life time.Duration) time.Duration {
	until := sent.Add(life - l.terms.Margin)
	if mono := int64(until.Sub(l.k.base)); mono > l.trust.mono.Load() {
		// The wall clock's reading of sent, moved by the same duration.
		l.trust.wall.Store(until.UnixNano())
		l.trust.mono.Store(mono)
	}
	return l.trustLeft(time.Now())
}

// BeginLocked starts the first hold of l, whose trust has been extended, and
// plans the first renewal.
func (l *Lease) BeginLocked(renewal time.Time) *Hold {
	now := time.Now()
	l.watchExpiryLocked(now)
	l.k.hearing.beganLocked()
	l.k.planLocked(l, renewal)
	return l.NewHoldLocked(now)
}

// Keeper is the lease's.
func (l *Lease) Keeper() *Keeper { return l.k }

// Key is the key that is held, or will be.
func (l *Lease) Key() string { return l.key }

// Owner is the owner id.
func (l *Lease) Owner() string { return l.owner }

// Age is how long ago the lease was granted.
func (l *Lease) Age(now time.Time) time.Duration { return now.Sub(l.k.time(l.first.granted)) }

// EndedLocked reports whether the release has begun.
func (l *Lease) EndedLocked() bool { return l.ended }

// Remaining is how long the lease lives in the store unless renewed, as far as
// this process can prove.
func (l *Lease) Remaining(now time.Time) time.Duration {
	return max(0, l.trustLeft(now)+l.terms.Margin)
}

// lastToken is the last that the lease may use; 0 if it has none.
func (l *Lease) lastToken() int64 { return max(0, l.first.Fence+int64(l.tokens)-1) }

// HandsOverLocked reports whether another run may begin under l by terms, which
// are another caller's: l must keep to the same, have a token left, and half its
// TTL of trust, so that the run does not begin shortly before trust ends.
func (l *Lease) HandsOverLocked(terms *Terms, now time.Time) bool {
	tokenLeft := l.terms.Limit != lease.Exclusive || l.holdLocked().Fence < l.lastToken()
	return tokenLeft && !l.lost.Load() && l.stoppedLocked() == nil && *l.terms == *terms && l.trustLeft(now) >= l.terms.TTL/2
}

// trustLeft is how much longer the lease is proven: the less of what the two
// clocks say. The monotonic clock does not count the time a machine slept, the
// wall clock may be stepped back; neither alone is safe.
func (l *Lease) trustLeft(now time.Time) time.Duration {
	mono := l.trust.mono.Load() - int64(now.Sub(l.k.base))
	wall := l.trust.wall.Load() - now.UnixNano()
	return time.Duration(min(mono, wall))
}

func (l *Lease) watchExpiryLocked(now time.Time) {
	e := &l.k.expiries
	e.Add(l, now.Add(l.trustLeft(now)))
	e.Arm()
}

func (l *Lease) stopExpiryLocked() {
	e := &l.k.expiries
	if e.Remove(l); e.Len() == 0 {
		l.k.hearing.endedLocked()
	}
}

// expire runs when a lease's trust ends, as it was known before. By now a
// renewal may have extended it; the deadline is read under the mutex that a
// renewal needs to extend it, so either the renewal came first and the lease is
// looked at again later, or trust ends here and the renewal finds it ended.
//
// It does no I/O, and sets the timer for the next before any listener runs.
func (k *Keeper) expire() {
	var losses []loss
	k.mu.Lock()
	k.expiries.Fired()
	now := time.Now()
	for l := k.expiries.TakeUntil(now); l != nil; l = k.expiries.TakeUntil(now) {
		if l.trustLeft(now) > 0 {
			l.watchExpiryLocked(now)
		} else {
			losses = append(losses, l.loseLocked(l.expiredLocked()))
		}
	}
	k.expiries.Arm()
	k.mu.Unlock()
	reportAll(losses)
}

// check ends trust if the clocks say so, without waiting for the timer: a
// process that was stopped runs on for a while before its timers do.
func (l *Lease) check() {
	now := time.Now()
	if l.lost.Load() || l.trustLeft(now) > 0 {
		return
	}
	l.k.mu.Lock()
	if l.ended || l.trustLeft(now) > 0 { // a renewal extended it
		l.k.mu.Unlock()
		return
	}
	lost := l.loseLocked(l.expiredLocked())
	l.k.mu.Unlock()
	lost.report()
}

func (l *Lease) expiredLocked() *Lost { return &Lost{Reason: Expired, Err: l.seldom().err} }

// loseLocked ends trust for good: it marks the lease, lets the next local caller
// ask for the key even if the run goes on, and returns the listeners to call
// without the mutex. The store may still have the owner as the holder; renewals
// go on as long as the run does, unless the cause forbids it.
func (l *Lease) loseLocked(cause *Lost) loss {
	if l.lost.Load() {
		return loss{}
	}
	l.seldom().cause = cause
	l.lost.Store(true)
	l.stopExpiryLocked()
	if cause.Reason != Expired {
		l.stopRenewingLocked()
	}
	if !l.ended {
		l.next.OnFree(l)
	}
	return l.holdLocked().lostLocked(cause)
}

func (l *Lease) stopRenewingLocked() {
	l.k.unplanLocked(l)
	l.unrenewable = true
}

// StopLocked asks the run of l to stop. It returns what tells it, to be called without
// the mutex.
//
// Unless the lease was broken it is not lost: trust, renewals and the token go on until
// the run has returned, so that no other run overlaps it.
func (l *Lease) StopLocked(s lease.Stop) (tell func()) {
	cause := &Lost{Reason: Revoked}
	switch s.Kind {
	case lease.Broken:
		return l.loseLocked(&Lost{Reason: NotOwner, Err: errBroken}).report
	case lease.Revoked:
	case lease.Replaced:
		cause.Reason = Replaced
	default: // of a later version
		return func() {}
	}
	if l.ended || l.lost.Load() || l.stoppedLocked() != nil {
		return func() {}
	}
	if s.Text != "" {
		cause.Err = errors.New(s.Text)
	}
	l.seldom().stopped = cause
	h := l.holdLocked()
	return loss{h: h, cause: cause, bound: h.bound}.report
}

// stoppedLocked is why the run of l was asked to stop, nil if it was not.
func (l *Lease) stoppedLocked() *Lost {
	if l.rare == nil {
		return nil
	}
	return l.rare.stopped
}

var errBroken = errors.New("an operator has broken the lease")

// strictness orders limits: the fewer holders at once, the stricter,
// an exclusive holder being stricter than a limit of 1.
func strictness(limit lease.Limit) int {
	if limit == lease.Shared {
		return math.MaxInt
	}
	return int(limit)
}

// Lost says how a lease ended before its run did, or why the run was asked to stop.
type Lost struct {
	Reason Reason
	Holder string // who holds the key instead, if known
	Err    error  // of the last failed renewal, if that was why
}

func (l *Lost) Error() string {
	if l.Err != nil {
		return string(l.Reason) + ": " + l.Err.Error()
	}
	return string(l.Reason)
}

func (l *Lost) Unwrap() error { return l.Err }

// Reason is a short, fixed text that says why a lease was lost.
type Reason string

// The reasons.
const (
	Expired  Reason = "trust ran out before a renewal succeeded"
	NotOwner Reason = "the store no longer has us as the holder"
	MaxHold  Reason = "MaxHold passed"

	// Of a lease that is kept until the run has returned.
	Revoked  Reason = "the holder was told to stop"
	Replaced Reason = "a newcomer takes the key"
)
