package record

import (
	"context"
	"time"
)

// Log keeps records. A call that returned an error may have taken effect, and can be
// repeated. Calls return when their context ends. All methods are safe for concurrent
// use, by any number of processes. It starts no goroutine that outlives a call by more
// than its server's timeout.
type Log interface {
	// Begin stores an intent. ErrFull if in.MaxOpen records are open. If in.Ordered and
	// the key has open records, it returns them, oldest first, and stores nothing; but
	// for those that have not been ended and have the same token: they go on beside or
	// around this run, under the same lease. A repetition of a Begin is one Begin.
	Begin(ctx context.Context, in Intent) ([]Open, error)

	// Checkpoint replaces the checkpoint of a run that goes on: its record is open, was
	// neither ended nor claimed; else ErrNotFound. n counts the checkpoints of the run: one
	// that arrives after a higher one changes nothing.
	Checkpoint(ctx context.Context, at Ref, n int64, data []byte) error

	// End tells the outcome of a run. For an open record that was not claimed:
	//
	//	Done           it is done
	//	Failed, Late   it is due now, with that reason and e.Checkpoint
	//	Void           it is deleted: fn never began
	//
	// Once claimed, or compensated, or dead, any outcome but Void makes the record open
	// with reason Late, due now, as if it were never tried; a claim goes on and cannot
	// finish it. For Done the error is ErrClaimed then. A done record becomes open by Late only, and not if it was done in a
	// transaction of the run's own. One that is missing is stored by Failed and Late.
	//
	// EndMismatch stores a record with reason Mismatch, open and due now, also if one that
	// is finished has its id. It changes nothing if that is open or dead.
	End(ctx context.Context, e End) error

	// Take returns up to t.Max records of t.Kinds that are due, and makes them due
	// again after t.Lap, so that other sweepers take others.
	Take(ctx context.Context, t Take) ([]Due, error)

	// Claim begins an attempt at compensation. The caller holds the record's key.
	Claim(ctx context.Context, c Claim) (Claimed, error)

	// Resolve tells what came of an attempt.
	Resolve(ctx context.Context, v Verdict) (Resolved, error)

	// Postpone makes an open record due after d and counts it as busy, unless it is
	// due now.
	Postpone(ctx context.Context, at Ref, d time.Duration) error

	// Dead returns up to n dead records in the order of their death, after the
	// cursor, and the next cursor. "" begins, and is returned at the end.
	Dead(ctx context.Context, cursor string, n int) ([]Record, string, error)

	// Requeue makes a dead record open and due now, as if it were never tried.
	// ErrNotFound if none has this id.
	Requeue(ctx context.Context, id string) error

	// Drop deletes a dead record. ErrNotFound if none has this id.
	Drop(ctx context.Context, id string) error

	Stats(ctx context.Context) (Stats, error)
}

// Ref names a record.
type Ref struct{ ID, Kind, Key string }

// Intent is what is stored before fn runs.
type Intent struct {
	Record // ID, Kind, Key, Payload and Fence

	Due     time.Duration // when a sweeper may look for it first
	MaxOpen int
	Ordered bool
}

// Open is an earlier run of a key that is in the way of an ordered one.
type Open struct {
	Ref

	// Backoff is how long until a handler that failed may be tried again. Not positive:
	// now, also if an attempt was begun that nobody resolved.
	Backoff time.Duration
}

// Outcome is what came of a run.
type Outcome string

// The outcomes.
const (
	EndDone   Outcome = "done"
	EndFailed Outcome = "failed"
	EndLate   Outcome = "late"
	EndVoid   Outcome = "void"

	// EndMismatch is of a record without a run: see Log.End.
	EndMismatch Outcome = "mismatch"
)

// End is the end of a run.
type End struct {
	Record  // as in the Intent, with Checkpoint and Err
	Outcome Outcome

	// Sealed: a transaction of the run's own has made the record done, or was rolled
	// back. If it is done it stays so, whatever the Outcome, which is not Done.
	Sealed bool

	Retain time.Duration // how long a finished record is kept
}

// Take asks for records that are due.
type Take struct {
	Kinds []string
	Max   int
	Lap   time.Duration
}

// Due is a record that is due.
type Due struct {
	Ref
	Busy int // how often it was postponed
}

// Claim asks for a record.
type Claim struct {
	Ref
	By      string        // names the claim among those of the record; a repetition has the same
	Fence   int64         // the claimant's token of the key
	Settled bool          // the claimant has had the key for long enough: see Unsettled
	Lap     time.Duration // when it is due again if nobody resolves it
}

// State says whether a claim was granted.
type State int

// The states.
const (
	Granted   State = iota // the claimant has it
	Finished               // it is not open
	Unsettled              // its run has not reported, and may just be doing so; nothing was changed
	Refused                // claimed under a higher token
)

// Claimed answers a Claim.
type Claimed struct {
	State  State
	Record Record // if Granted
}

// Result is what came of an attempt.
type Result string

// The results.
const (
	Compensated Result = "compensated"
	Retry       Result = "retry" // due after Verdict.After
	Die         Result = "dead"
)

// Resolved answers a Verdict.
type Resolved int

// The answers.
const (
	Accepted Resolved = iota
	Again             // the run ended meanwhile: the record stays open, as Late, whatever the result
	Void              // it is not open, or claimed by another since; nothing was changed
)

// Verdict ends an attempt.
type Verdict struct {
	Ref
	By     string // as in the Claim
	Result Result
	After  time.Duration
	Err    string
	Retain time.Duration // how long a compensated record is kept
}
