package guard

import (
	"context"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine/keep"
)

// Observer sees what happens to runs and leases: the seam for traces,
// metrics and logs. Its methods are called on the goroutine that does the work,
// so they must be quick; they may be called concurrently. A panic in one is
// logged with log/slog and otherwise ignored; after one in a Start the Observer
// is called no more for that acquire, or run. Nested runs under a lease that is held
// already are not reported, nor is what is refused before the store is asked: an
// invalid key, a context that has ended, a nested run that is stricter than the one
// around it. An Observer that a guard was given twice is called twice.
type Observer interface {
	// AcquireStart is called before a key is asked for. The context it returns
	// is passed to AcquireEnd. It must not return nil.
	AcquireStart(ctx context.Context, a AcquireStart) context.Context
	// AcquireEnd is called once for each AcquireStart. [Guard.DoAll] may have to ask
	// for a key several times until it is granted: that is one acquire.
	AcquireEnd(ctx context.Context, a AcquireEnd)

	// RunStart is called when all keys of a run are held. The context it
	// returns becomes the parent of fn's. Events of the run and RunEnd get one with
	// its values, which does not end. It must not return nil.
	RunStart(ctx context.Context, r RunStart) context.Context
	// RunEnd is called after fn has returned, panicked or exited, and the keys
	// have been released; with [AsyncRelease] on another goroutine.
	RunEnd(ctx context.Context, r RunEnd)

	// Event is called for each [Event] between RunStart and RunEnd. A lease that was
	// lost is one EventLost, also if that was before fn began.
	Event(ctx context.Context, e Event)
}

// ObserverDefaults does nothing. Embed it, so that an Observer goes on compiling
// when the interface grows.
type ObserverDefaults struct{}

// AcquireStart implements [Observer].
func (ObserverDefaults) AcquireStart(ctx context.Context, _ AcquireStart) context.Context { return ctx }

// AcquireEnd implements [Observer].
func (ObserverDefaults) AcquireEnd(context.Context, AcquireEnd) {}

// RunStart implements [Observer].
func (ObserverDefaults) RunStart(ctx context.Context, _ RunStart) context.Context { return ctx }

// RunEnd implements [Observer].
func (ObserverDefaults) RunEnd(context.Context, RunEnd) {}

// Event implements [Observer].
func (ObserverDefaults) Event(context.Context, Event) {}

// MetadataSource is implemented by an Observer that sends short text along with the
// lease, such as a trace parent. A waiter that meets the lease reads it in
// AcquireEnd.HolderMetadata. It is visible to all who can read the store.
type MetadataSource interface {
	// Metadata is given the context from AcquireStart. At most 128 bytes, no
	// control characters or '|'.
	Metadata(ctx context.Context) string
}

// AcquireStart describes what is asked for.
type AcquireStart struct {
	Name string // the group of keys, low in cardinality
	Key  string // the key itself: not for metrics
	TTL  time.Duration
	Wait time.Duration // how long the caller is ready to wait; negative: until its context ends
}

// AcquireEnd describes what came of it.
type AcquireEnd struct {
	Name     string
	Key      string
	Waited   time.Duration
	Attempts int   // store calls made meanwhile for the local queue of this key
	Fence    int64 // the token, when granted

	// Contended: the key was found held. Holder and HolderMetadata say
	// who was the last to be seen with it, if known, also when it was granted in the
	// end. HolderMetadata belongs to the call that won the key for its process, which
	// may have passed it on among its own callers since.
	Contended      bool
	Holder         string
	HolderMetadata string

	Err error // nil when granted
}

// RunStart describes a run that is about to begin.
type RunStart struct {
	Name   string
	Op     string // "do", "doall" or "lead", as in [Error]
	Keys   []string
	Tokens []int64 // one for each key
	TTL    time.Duration

	// Metadata is what observers sent along when this run acquired its keys: one
	// for each, "" for a key of a run around it; nil if nothing was sent.
	Metadata []string
}

// RunEnd describes a run that is over.
type RunEnd struct {
	Name     string
	Keys     []string
	Held     time.Duration // from the last grant to fn's end
	Renewals int           // that succeeded, over all keys
	Err      error         // as the caller of Do gets it; nil after a panic or Goexit
	Panicked bool          // fn did not return: it panicked or called Goexit
	Lost     LossReason    // why a lease of the run was lost, also after a panic; "" if none was
	Release  ReleaseResult // of several keys the worst
}

// ReleaseResult is the outcome of giving a run's keys back.
type ReleaseResult string

// The results.
const (
	ReleaseDone   ReleaseResult = "released" // free again, or handed to another caller of this process
	ReleaseFailed ReleaseResult = "failed"   // the store did not answer: retried in the background
	ReleaseLost   ReleaseResult = "lost"     // the store no longer had us as the holder
)

var releaseResults = [...]ReleaseResult{keep.ReleaseDone: ReleaseDone, keep.ReleaseFailed: ReleaseFailed, keep.ReleaseLost: ReleaseLost}

// Event is something that happened to one lease while a run held it.
type Event struct {
	Kind   EventKind
	Name   string
	Key    string
	Fence  int64
	TTL    time.Duration
	Left   time.Duration // EventRenewed: how much trust was left; a small share of TTL is a late renewal
	Holder string        // EventLost: who has the key instead, if known
	Reason LossReason    // EventLost: why
	Err    error         // of what failed; EventLost: why, in full
}

// EventKind tells events apart.
type EventKind int

// The events.
const (
	EventRenewed       = EventKind(keep.EventRenewed)       // a renewal succeeded
	EventRenewFailed   = EventKind(keep.EventRenewFailed)   // one failed; it is retried while trust lasts
	EventLost          = EventKind(keep.EventLost)          // fn's context has been cancelled
	EventReleaseFailed = EventKind(keep.EventReleaseFailed) // retried in the background; else the lease expires by itself, within TTL or 2 s
)

// String returns "renewed", "renew failed", "lost" or "release failed".
func (k EventKind) String() string {
	switch k {
	case EventRenewed:
		return "renewed"
	case EventRenewFailed:
		return "renew failed"
	case EventLost:
		return "lost"
	case EventReleaseFailed:
		return "release failed"
	}
	return "unknown event"
}

// LossReason is why a lease was lost, in a word.
type LossReason string

// The reasons.
const (
	LostExpired  LossReason = "expired"   // trust ran out before a renewal succeeded
	LostNotOwner LossReason = "not_owner" // the store no longer had us as the holder
	LostMaxHold  LossReason = "max_hold"  // MaxHold passed
	LostRevoked  LossReason = "revoked"   // of RunEnd: the run was told to stop (ErrRevoked); no lease was lost
	LostReplaced LossReason = "replaced"  // of RunEnd: likewise (ErrReplaced)
)

func lossReason(why *keep.Lost) LossReason {
	switch why.Reason {
	case keep.Expired:
		return LostExpired
	case keep.NotOwner:
		return LostNotOwner
	case keep.MaxHold:
		return LostMaxHold
	case keep.Revoked:
		return LostRevoked
	case keep.Replaced:
		return LostReplaced
	}
	return ""
}
