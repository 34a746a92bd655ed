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
// [ErrRefused]; the caller repeats it or cleans up.
type Store interface {
	// NewOwner returns an owner id that no other call in any process ever
	// returns. It names one tenure: one process holding, or waiting for, one
	// key. metadata is short text that travels inside the id, readable by
	// whoever meets the id as a holder (see [Metadata]).
	NewOwner(metadata string) string

	// Acquire asks once for the key, in one atomic step:
	//
	//   - held by r.Owner already (a grant, or this owner's own earlier attempt
	//     whose reply was lost): the lease lives at least for the TTL from now,
	//     never shorter than before, and tokens are minted;
	//   - free with nobody in line, or with r.Owner at the head: granted;
	//   - free with somebody else at the head: the head is granted the key for
	//     its reservation and woken; then as for "held";
	//   - held: if r.Join, r.Owner stands in line at r.Ticket, or last if that
	//     is zero; if it stands there already it keeps its place. The reply
	//     names the holder.
	//
	// Nobody is woken when a TTL, a reservation or a closed time ends: whoever
	// is first in line asks again when Remaining has passed.
	//
	// An Acquire that reaches the server after ctx's deadline has no effect.
	// Acquire is never called twice at once for one owner.
	Acquire(ctx context.Context, r AcquireRequest) (AcquireReply, error)

	// Renew extends each lease that its owner still holds to a full TTL from
	// now. It never creates a lease, and never touches somebody else's. Reply
	// i answers request i; requests succeed and fail one by one.
	Renew(ctx context.Context, rs []RenewRequest) []RenewReply

	// Release ends r.Owner's lease, if it is the holder, and takes r.Owner out
	// of the line, if it stands there. A key that becomes free is granted to
	// the head of the line for that waiter's reservation, and the waiter is
	// woken. Somebody else's lease is never touched. Repeating it is harmless.
	Release(ctx context.Context, r ReleaseRequest) (ReleaseReply, error)
}

// Watcher is implemented by a Store that can wake waiters. With any other
// Store waiters only poll.
type Watcher interface {
	// Watch calls wake when owner should ask again at once: it was granted a
	// key, or messages may have been missed. wake never blocks; it may be
	// called from any goroutine, more than once, and without need. It reports
	// whether owner takes the grant at its word and does not ask. An owner is
	// watched by one at a time. A grant that arrives for an owner nobody watches
	// is released by the store.
	Watch(owner string, wake func(Grant) (taken bool))

	// Unwatch ends the watch: wake is not called for news that arrives later.
	// Without a watch it does nothing.
	Unwatch(owner string)
}

// Grant is what a wake-up tells of an exclusive grant, so that its owner can
// begin without another round trip. It says nothing, and is the zero value,
// when the store cannot vouch for it.
type Grant struct {
	// Fence is the one token minted for the grant; 0: ask.
	Fence int64

	// Since is a moment at which the grant had not yet been made: when the owner
	// sent its last Acquire that was answered, in which it was told to wait. The
	// lease lives at least until Since plus the Reservation of that request.
	Since time.Time
}

// Limit says how many owners may hold a key at once. An exclusive owner holds it
// alone. Owners with a limit or without one (readers) hold it side by side, as
// many as the strictest of those present and the one who comes allows: with
// Limit 3, only while fewer than three others are there, of whatever Limit; and
// while one with Limit 3 is there, nobody makes it four. All stand in one line
// with the exclusive ones: nobody overtakes, and whoever releases lets in
// everybody at the front of the line for whom there is room.
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
	TTL   time.Duration // life of the lease from the moment it is granted
	Limit Limit         // the same in all requests of a tenure

	Join        bool          // stand in line when the key is not to be had
	Ticket      int64         // the place an earlier reply gave; 0 on first arrival
	Reservation time.Duration // how long a grant made to this waiter stays reserved for it

	// TokenCount is how many consecutive fencing tokens to mint, at least 1. More
	// than one serves local followers without asking again. The store may mint
	// fewer: tokens never run more than 10 ms (10 000) ahead of the server's clock.
	TokenCount int
}

// AcquireReply is what the server said.
type AcquireReply struct {
	Granted bool

	// When granted and exclusive: tokens Fence, Fence+1, … Fence+TokenCount-1 are the owner's.
	// All are greater than any token minted for the key before, and none is less
	// than the server's clock in µs, so that they rise even if the server has
	// lost all memory of those before.
	Fence      int64
	TokenCount int

	// When not granted:
	Holder    string        // owner id or foreign value found under the key; of several owners any
	Remaining time.Duration // until the holder's lease expires unless renewed; negative if it never does. Of several: the first that makes room
	Ticket    int64         // the place in line, if joined
	Head      bool          // first in line
}

// RenewRequest is one lease to extend.
type RenewRequest struct {
	Key   string
	Owner string
	TTL   time.Duration
	Limit Limit
}

// RenewReply answers one RenewRequest. Only Err == nil && !Held says that the
// lease is gone; an error says nothing.
type RenewReply struct {
	Held   bool
	Holder string // who holds the key instead; "" if nobody
	Err    error
}

// ReleaseRequest ends a tenure, or leaves the line.
type ReleaseRequest struct {
	Key         string
	Owner       string
	Reservation time.Duration // as in the owner's AcquireRequest
	Limit       Limit

	// Of the tokens up to LastFence that the owner was given it has used those up
	// to Fence. The store may mint the rest again, so that tokens do not run
	// ahead of the clock for longer than need be. If the two are equal, and
	// both 0 for an owner that was given none, there is nothing to take back.
	Fence, LastFence int64

	// KeepClosed keeps the key closed for this long after the release: nobody is
	// granted it meanwhile. 0 frees it at once. The place of an owner that is
	// not exclusive stays taken instead.
	KeepClosed time.Duration
}

// ReleaseReply says whether Owner held the lease when the release arrived.
type ReleaseReply struct {
	Released bool
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
}

// HolderOf takes value, found under a key, apart.
func HolderOf(value string, remaining time.Duration) Holder {
	return Holder{Owner: OwnerName(value), Process: OwnerProcess(value), Metadata: Metadata(value), Remaining: remaining}
}
