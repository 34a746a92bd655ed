package lease

import (
	"context"
	"time"
)

// Store keeps leases, queues of waiters and fencing tokens in one place that
// all processes of a fleet share. Implementations are safe for concurrent use,
// and their dynamic type is comparable: two guards over the same Store value
// recognise each other's leases.
//
// Every call carries a context with a deadline, the attempt's timeout, and
// returns soon after that context ends, whatever the network does. A call that
// returned an error may have taken effect all the same, unless the error wraps
// [ErrRefused]; the caller repeats it or cleans up. For a patient [Attempt] the timeout
// counts from when the request is sent. A Store may send a request again
// within one call when an answer is overdue; replies say so where it matters.
type Store interface {
	// NewOwner returns an owner id that no other call in any process ever
	// returns. It names one lease, from the first request to the release. metadata
	// is short text inside the id, which those refused by the holder can read (see
	// [Metadata]).
	NewOwner(metadata string) string

	// Acquire asks once for the key, in one atomic step:
	//
	//   - held by r.Owner already (a reservation, or an earlier attempt of this owner
	//     whose reply was lost): the lease lives at least for the TTL from now,
	//     never shorter than before, and tokens are minted;
	//   - free without waiters, or with r.Owner at the head of the queue: granted;
	//   - free with another owner at the head: the head is granted the key for
	//     its reservation and woken; then as for "held";
	//   - held: if r.Join, r.Owner waits in the queue at r.Ticket, or last if that
	//     is zero; if it is in the queue already it keeps its place. The reply
	//     names the holder.
	//
	// The end of a TTL, a reservation or a KeepClosed wakes no waiter: the head of
	// the queue asks again when Remaining has passed.
	//
	// An Acquire that reaches the server after ctx's deadline has no effect, unless
	// ctx is an [Attempt] that is not patient: then it may be granted, for r.TTL.
	// Acquire is never called twice at once for one owner. A request that it sent
	// again and that is still under way when it returns is refused after ctx's
	// deadline too; see Unanswered.
	Acquire(ctx context.Context, r AcquireRequest) (AcquireReply, error)

	// Renew extends each lease that its owner still holds to a full TTL from
	// now. It never creates a lease, and never touches another owner's. Reply
	// i answers request i; requests succeed and fail one by one.
	Renew(ctx context.Context, rs []RenewRequest) []RenewReply

	// Release ends r.Owner's lease, if it is the holder, and takes r.Owner out
	// of the queue, if it waits. A key that becomes free is granted to the head of
	// the queue for that waiter's reservation, and the waiter is woken. Another
	// owner's lease is never touched. Repeating it is harmless.
	Release(ctx context.Context, r ReleaseRequest) (ReleaseReply, error)
}

// LaterReleaser is implemented by a Store that sends a release for which no caller waits
// together with the next request.
type LaterReleaser interface {
	// ReleaseLater sends r soon, in a millisecond at the latest, and calls done once, with
	// what [Store.Release] would return, on any goroutine. The server has timeout to answer
	// from when it is sent. ReleaseLater returns at once; it reports false, and does nothing,
	// for a release that should not wait: then call Release.
	ReleaseLater(r ReleaseRequest, timeout time.Duration, done func(ReleaseReply, error)) bool

	// Hurry sends at once what waits to be sent.
	Hurry()
}

// Watcher is implemented by a Store that can wake waiters. With any other
// Store waiters only poll.
type Watcher interface {
	// Watch calls w.Woken when owner should ask again at once: it was granted a
	// key, or messages may have been missed. An owner has one watch at a time. A
	// grant that arrives for an owner without a watch is released by the store.
	Watch(owner string, w Waker)

	// Unwatch ends the watch: Woken is not called for messages that arrive later.
	// Without a watch it does nothing.
	Unwatch(owner string)
}

// Taker is implemented by a [Watcher] that releases grants to owners without a watch.
type Taker interface {
	// Taken says that owner counts on what it is granted, though its watch ends: it holds
	// the key by what it was granted on other stores, or will release it. A grant to it is
	// not released by the store until it has called Release.
	Taken(owner string)
}

// Waker is what a [Watcher] wakes.
type Waker interface {
	// Woken never blocks; it may be called from any goroutine, more than once, and
	// without need. It reports whether the owner starts on the grant without asking.
	Woken(g Grant) (taken bool)
}

// WakeFunc is a function as a Waker.
type WakeFunc func(Grant) (taken bool)

// Woken calls f.
func (f WakeFunc) Woken(g Grant) (taken bool) { return f(g) }

// Grant is what a wake-up carries of an exclusive grant, so that its owner can
// start without another round trip. It is the zero value if the store cannot be sure
// that the grant stands.
type Grant struct {
	// Fence, Fence+1, … Fence+TokenCount-1 are the tokens minted for the grant, one unless
	// the Place asks for more; 0: ask.
	Fence      int64
	TokenCount int

	// Since is not after the grant. The lease lives at least until Since plus the
	// Reservation of the owner's last Acquire.
	Since time.Time
}

// Limit says how many owners may hold a key at once. An exclusive owner holds it
// alone. Owners with a limit, and shared ones (readers), hold it together, as many
// as the strictest limit among the holders and the new owner allows. All wait in one
// queue with the exclusive ones: no owner overtakes, and a release grants the key to
// all at the front of the queue that fit.
//
// Fencing tokens are for exclusive owners: the others get none.
type Limit int

// Exclusive and Shared are special Limits; any other is the limit itself, at
// least 1.
const (
	Exclusive Limit = 0
	Shared    Limit = -1
)

// AcquireRequest is what [Store.Acquire] is asked.
type AcquireRequest struct {
	Key   string        // as the user wrote it; the store adds its own prefix
	Owner string        // from NewOwner
	TTL   time.Duration // life of the lease from the grant
	Limit Limit         // the same in all requests of an owner

	Join   bool  // wait in the queue if not granted
	Ticket int64 // from an earlier reply; 0 in the first request
	Place        // in the queue

	// TokenCount is how many consecutive fencing tokens to mint, at least 1. More
	// than one serves local handoffs without another request. The store may mint
	// fewer: tokens never run more than 10 ms (10 000) ahead of the server's clock.
	TokenCount int

	// KeepUnused says that no Release will have unused tokens taken back, which lets
	// redisstore mint several without a script.
	KeepUnused bool
}

// Place is what the store needs to know of a waiter in the queue. It is the same in all
// requests of an owner.
type Place struct {
	// Reservation is how long a grant made to this waiter stays reserved for it.
	Reservation time.Duration

	// Poll is how often the waiter asks again, at least, if nothing wakes it. One that
	// has not asked for 5/4 of it and half a second more is presumed dead: it loses its
	// place, and returns to it when it asks with its ticket. 0: it is never presumed dead.
	Poll time.Duration

	// GrantTokens is how many consecutive tokens a grant to the waiter mints, if it is
	// exclusive: as AcquireRequest.TokenCount, for a grant that the waiter did not ask for
	// at that moment. 0: one.
	GrantTokens int
}

// Patience is how long the waiter is presumed alive after each request; 0: for ever.
func (p Place) Patience() time.Duration {
	if p.Poll <= 0 {
		return 0
	}
	return p.Poll*5/4 + 500*time.Millisecond
}

// AcquireReply answers an AcquireRequest.
type AcquireReply struct {
	Granted bool

	// When granted and exclusive: tokens Fence, Fence+1, … Fence+TokenCount-1 are the owner's.
	// All are greater than any token minted for the key before, as far as the server
	// remembers. None is less than the server's clock in µs, so that they rise even if
	// it has lost all memory of those before; on an [Attempt] that is not patient, of a
	// server that remembers some, than a time shortly before the request was sent.
	Fence      int64
	TokenCount int

	// When not granted:
	Holder    string        // owner id or foreign value of the key; one of several holders
	Remaining time.Duration // until the owner would fit if no lease is renewed; negative if never
	Ticket    int64         // orders the queue, if joined
	Head      bool          // first in the queue
	Foreign   bool          // another program's lock is in the way: its release wakes no waiter
	Watched   bool          // a grant is as good as sure to wake the owner, which may ask as rarely as Place.Poll says

	// Sent is before the request left that was answered; zero: the call's start counts.
	Sent time.Time
	// Unanswered is until when another request of the call may take effect; zero: none.
	Unanswered time.Time
}

// RenewRequest is one lease to extend.
type RenewRequest struct {
	Key   string
	Owner string
	TTL   time.Duration
	Limit Limit

	// Fence of an exclusive owner that holds the key: no token up to it is minted for the
	// key again, and none is taken back that was minted before. 0: nothing is asked. Of
	// several stores that are one, those that minted lower tokens are told the one chosen.
	// Such a renewal never shortens the lease: it may arrive after a later Acquire.
	Fence int64
}

// RenewReply answers one RenewRequest. Only Err == nil && !Held says that the
// lease is gone; an error says nothing.
type RenewReply struct {
	Held   bool
	Holder string    // owner id that holds the key instead; "" if it is free
	Sent   time.Time // as in AcquireReply
	Err    error
}

// ReleaseRequest ends a lease, or leaves the queue.
type ReleaseRequest struct {
	Key   string
	Owner string
	Limit Limit
	Place // as in the owner's AcquireRequest

	// Of the tokens up to LastFence that the owner was given it has used those up
	// to Fence. The store may mint the rest again, so that tokens do not run
	// ahead of the clock for longer than need be. If the two are equal, and
	// both 0 for an owner that was given none, there is nothing to take back.
	Fence, LastFence int64

	// KeepClosed keeps the key closed for this long after the release: it is not
	// granted meanwhile. 0 frees it at once. Of an owner that is not exclusive the
	// permit stays taken instead.
	KeepClosed time.Duration
}

// ReleaseReply says whether Owner held the lease when the release arrived.
type ReleaseReply struct {
	Released bool

	// Resent: the request was sent more than once. Then Owner may have held the lease
	// even if Released is false.
	Resent bool
}

// HolderFinder is implemented by a Store that can say who holds a key without
// asking for it.
type HolderFinder interface {
	// FindHolder returns the holder of key, of several any; the zero Holder if the
	// key is free.
	FindHolder(ctx context.Context, key string) (Holder, error)
}

// Holder is who holds a key, as the store has it.
type Holder struct {
	Owner     string        // owner name (host:pid unless configured), or what another program wrote; "": the key is free
	Process   string        // process id; "" of other programs, of a key kept closed, and where several hold the key
	Metadata  string        // text of the holder's observer, or ""
	Token     int64         // the holder's fencing token; 0 if the store does not keep it
	Remaining time.Duration // until the lease expires unless renewed; negative: never
	ID        string        // tells this lease from any other; of other programs what they wrote
}

// HolderOf takes value, found under a key, apart.
func HolderOf(value string, remaining time.Duration) Holder {
	return Holder{Owner: OwnerName(value), Process: OwnerProcess(value), Metadata: Metadata(value), Remaining: remaining, ID: value}
}
