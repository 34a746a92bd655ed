package guard

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine"
	"github.com/jobguard/jobguard/guard/lease"
)

// Observer is told what happens to runs and leases: the seam for traces,
// metrics and logs. Its methods are called on the goroutine that does the work,
// so they must be quick; they may be called concurrently. A panic in one is
// logged with log/slog and otherwise ignored; after one in a Start the Observer
// hears no more of that acquire, or run. Nested runs under a lease that is held
// already are not reported, nor is what is refused before the store is asked: an
// invalid key, a context that has ended, a nested run that is stricter than the one
// around it. An Observer that a guard was given twice is told twice.
type Observer interface {
	// AcquireStart is called before a key is asked for. The context it returns
	// is passed to AcquireEnd. It must not return nil.
	AcquireStart(ctx context.Context, a AcquireStart) context.Context
	// AcquireEnd is called once for each AcquireStart. [Guard.DoAll] may have to ask
	// for a key several times until it is granted: that is one acquire.
	AcquireEnd(ctx context.Context, a AcquireEnd)

	// RunStart is called when all keys of a run are held. The context it
	// returns becomes the parent of fn's, and is passed to the run's events and
	// to RunEnd. It must not return nil.
	RunStart(ctx context.Context, r RunStart) context.Context
	// RunEnd is called after fn has returned, panicked or exited, and the keys
	// have been released.
	RunEnd(ctx context.Context, r RunEnd)

	// Event is called for each [Event] between RunStart and RunEnd. A lease that was
	// lost is one EventLost, also if that was before fn began.
	Event(ctx context.Context, e Event)
}

// MetadataSource is implemented by an Observer that sends short text along with the
// lease, such as a trace parent. Whoever meets the lease reads it in
// AcquireEnd.HolderMetadata. It is visible to everybody who can read the store.
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
	Attempts int   // store calls made meanwhile for the local line of this key
	Fence    int64 // the token, when granted

	// Contended: somebody was found to have the key. Holder and HolderMetadata tell
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
	Lost     string        // why a lease of the run was lost: a Lost… constant, also after a panic; "" if none was
	Release  string        // what came of giving the keys back: the worst of the Release… constants
}

// What came of giving keys back.
const (
	ReleaseDone   = "released" // free again, or passed on to another caller of this process
	ReleaseFailed = "failed"   // the store did not answer: retried in the background
	ReleaseLost   = "lost"     // the store no longer had us as the holder
)

var releases = [...]string{engine.ReleaseDone: ReleaseDone, engine.ReleaseFailed: ReleaseFailed, engine.ReleaseLost: ReleaseLost}

// Event is something that happened to one lease while a run held it.
type Event struct {
	Kind   EventKind
	Name   string
	Key    string
	Fence  int64
	TTL    time.Duration
	Left   time.Duration // EventRenewed: how much trust was left; a small share of TTL is a late renewal
	Holder string        // EventLost: who has the key instead, if known
	Reason string        // EventLost: why, one of the Lost… constants
	Err    error         // of what failed; EventLost: why, in full
}

// EventKind tells events apart.
type EventKind int

// The events.
const (
	EventRenewed       = EventKind(engine.EventRenewed)       // a renewal succeeded
	EventRenewFailed   = EventKind(engine.EventRenewFailed)   // one failed; it is retried while trust lasts
	EventLost          = EventKind(engine.EventLost)          // fn's context has been cancelled
	EventReleaseFailed = EventKind(engine.EventReleaseFailed) // retried in the background; else the lease expires by itself, within TTL or 2 s
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

// Why a lease was lost.
const (
	LostExpired  = "expired"   // trust ran out before a renewal succeeded
	LostNotOwner = "not_owner" // the store no longer had us as the holder
	LostMaxHold  = "max_hold"  // MaxHold passed
)

// reasonOf puts an EventLost's error into one word.
func reasonOf(err error) string {
	var lost *engine.Lost
	if !errors.As(err, &lost) {
		return ""
	}
	switch lost.Reason {
	case engine.ReasonExpired:
		return LostExpired
	case engine.ReasonNotOwner:
		return LostNotOwner
	case engine.ReasonMaxHold:
		return LostMaxHold
	}
	return ""
}

// observers calls each, in the order given; the Ends in reverse, as befits
// contexts that wrap each other.
type observers []Observer

func (os *observers) acquireStart(ctx context.Context, a AcquireStart) (context.Context, *observers) {
	return os.start(ctx, func(o Observer, ctx context.Context) context.Context { return o.AcquireStart(ctx, a) })
}

func (os *observers) acquireEnd(ctx context.Context, a AcquireEnd) {
	for _, o := range slices.Backward(*os) {
		shield(func() { o.AcquireEnd(ctx, a) })
	}
}

func (os *observers) runStart(ctx context.Context, r RunStart) (context.Context, *observers) {
	return os.start(ctx, func(o Observer, ctx context.Context) context.Context { return o.RunStart(ctx, r) })
}

func (os *observers) runEnd(ctx context.Context, r RunEnd) {
	for _, o := range slices.Backward(*os) {
		shield(func() { o.RunEnd(ctx, r) })
	}
}

func (os *observers) event(ctx context.Context, e Event) {
	for _, o := range *os {
		shield(func() { o.Event(ctx, e) })
	}
}

// metadata returns the first text that an observer wants to send, and may.
func (os *observers) metadata(ctx context.Context) (text string) {
	for _, o := range *os {
		if c, ok := o.(MetadataSource); ok && text == "" {
			shield(func() { text = c.Metadata(ctx) })
		}
	}
	return text
}

// start returns the context that all made of ctx, and who is to be told the rest: an
// observer that panicked at a start would take the end for that of something else.
func (os *observers) start(ctx context.Context, f func(Observer, context.Context) context.Context) (context.Context, *observers) {
	told := os
	for i, o := range *os {
		sound := shield(func() {
			if c := f(o, ctx); c != nil {
				ctx = c
			}
		})
		switch {
		case !sound && told == os:
			rest := slices.Clone((*os)[:i])
			told = &rest
		case sound && told != os:
			*told = append(*told, o)
		}
	}
	return ctx, told
}

// shield keeps an observer's panic from the run it observes, and reports whether
// there was none.
func shield(f func()) (sound bool) {
	defer func() {
		if p := recover(); p != nil {
			slog.Error("guard: an Observer panicked", "panic", p)
		}
	}()
	f()
	return true
}

// Happened implements [engine.Listener]: it tells the run's observers. A loss may
// come here before whoever found it has cancelled fn's context; it is cancelled then.
func (c *runCtx) Happened(h *engine.Hold, e engine.Event) {
	var lost *engine.Lost
	if e.Kind == engine.EventLost && errors.As(e.Err, &lost) {
		c.Lost(h, lost)
	}
	opts := &c.guard.opts
	ev := Event{
		Kind: EventKind(e.Kind), Name: opts.name, Key: h.Key(), Fence: h.Fence,
		TTL: h.TTL(), Left: e.Left, Holder: lease.OwnerName(e.Holder), Err: e.Err,
	}
	if ev.Kind == EventLost {
		ev.Reason = reasonOf(e.Err)
	}
	c.observers.event(c.observed, ev)
}
