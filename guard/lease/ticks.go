package lease

import (
	"context"
	"time"
)

// TickStore is implemented by a Store that can remember the ticks of schedules, so
// that of many replicas that see the same tick, each by its own clock, one runs it. It
// remembers one tick for each key, the last that was claimed, for at least 400 days
// after the claim. Times are truncated to microseconds.
//
// Ticks are compared by their scheduled times alone, not by when they are claimed.
//
// A call that returned an error may have taken effect; it can be repeated.
type TickStore interface {
	// LastTick returns the last tick of key; the zero Tick if there is none.
	LastTick(ctx context.Context, key string) (Tick, error)

	// ClaimTick asks for a tick, in one atomic step. The tick is claimed, and becomes
	// the last one, not done, if
	//
	//   - it is later than the last one, or there is none, and does not lie more
	//     than r.MaxAhead ahead of the store's clock; but not if r.Fence, unless it is
	//     0, is lower than the token of the claim before, nor if r.Rerun is set and
	//     the last one was claimed under another token and is not done; or
	//   - it is the last one, r.Owner claimed it, and it is not done: this is
	//     the same claim, whose reply was lost; or
	//   - it is the last one, it is not done, r.Rerun is set, and r.Fence is
	//     greater than the token of the claim before.
	//
	// Else nothing is changed. So a former holder of the key claims nothing once the
	// next holder has, and with Rerun no tick that another owner has not done is skipped.
	ClaimTick(ctx context.Context, r TickRequest) (TickReply, error)

	// EndTick marks the tick done if it is the last one and r.Owner claimed it,
	// and reports whether it did; r.Through, r.Dead and r.Again change what is stored. A
	// repetition may report false, and changes nothing.
	EndTick(ctx context.Context, r TickEnd) (ended bool, err error)
}

// Tick is what a TickStore remembers of a key.
type Tick struct {
	At    time.Time // its scheduled time; zero: there is none
	Done  bool
	Owner string // owner id of the claim
	Fence int64  // the token of the run that claimed it; 0 if it had none

	Attempts int       // how many owners claimed it, without those whose run was broken off
	Left     bool      // Owner's run was broken off: see TickEnd.Again
	Since    time.Time // no claim from this tick on passed others over; zero: none ever has
	Dead     time.Time // the latest tick that ended as dead, which may be an earlier one; zero: none
}

// TickRequest is what [TickStore.ClaimTick] is asked.
type TickRequest struct {
	Key   string
	Owner string    // from NewOwner; a new one for each run
	At    time.Time // the tick's scheduled time

	// MaxAhead is how far a tick may lie ahead of the store's clock. A replica
	// whose clock is wrong by years would otherwise claim a tick after which no
	// other would ever be claimed. Negative: no bound.
	MaxAhead time.Duration

	// Fence is the token under which the caller holds the key, exclusively; 0 if it
	// has none. An owner that claimed under a lower token no longer holds the key.
	Fence int64

	// Rerun also claims a tick that another owner claimed and has not done, and no
	// later tick before that one is done.
	Rerun bool

	// Gap says that the claim passes over ticks that came due after the last one.
	// It becomes [Tick.Since]. Without it a tick between two claims counts as done.
	Gap bool

	// Attempts, if it is above 0, becomes [Tick.Attempts] of an owner that has not claimed
	// the tick yet: a caller that keeps ticks in several stores, each of which may have
	// missed a claim, counts for all. Else the store counts.
	Attempts int
}

// TickReply answers a TickRequest.
type TickReply struct {
	Claimed bool

	// When not claimed:
	Last  Tick          // the last tick, but for Attempts, Left, Since and Dead
	Ahead time.Duration // how far the tick lies ahead of the store's clock, if that is the reason; else 0
}

// TickEnd is what [TickStore.EndTick] is asked.
type TickEnd struct {
	Key   string
	Owner string
	At    time.Time

	// Through, if it is later than At, becomes the last tick, done: the ticks between
	// them will not run. It is cut to lie at least Settled back by the store's clock:
	// the caller's clock may be ahead, and must not use up ticks that are not due for
	// other replicas.
	Through time.Time
	Settled time.Duration

	// Dead marks the tick, which is done then, as given up: it becomes [Tick.Dead].
	Dead bool

	// Again leaves the tick to the next owner: it is not done, and this owner is
	// taken off [Tick.Attempts]. Through and Dead have no effect then.
	Again bool
}
