// Package entry moves the records of a journal from state to state, for logs that do so
// in Go. guard/journal/record says what the steps are; docs/design/journal.md draws them.
package entry

import (
	"time"

	"github.com/jobguard/jobguard/guard/journal/record"
)

// State is where a record is.
type State string

// The states.
const (
	Open        State = "open"
	Done        State = "done"
	Compensated State = "compensated"
	Dead        State = "dead"
)

// Entry is a record, and what a log knows of it besides.
type Entry struct {
	record.Record
	State State

	// At is when it is due if it is open, died if it is dead, and is forgotten if it is
	// finished.
	At time.Time

	By      string           // name of the latest claim
	Claimed int64            // its token; 0: never claimed
	Answer  *record.Resolved // to its verdict; nil before
	Again   bool             // the run ended since that claim
	Busy    int              // how often it was postponed

	Checkpoints int64 // number of the checkpoint that is there
}

// New is an intent as it is stored.
func New(in record.Intent, now time.Time) Entry {
	e := Entry{Record: in.Record, State: Open, At: now.Add(in.Due)}
	e.Started = now
	return e
}

// Forgotten reports whether e's retention is over.
func (e *Entry) Forgotten(now time.Time) bool {
	return (e.State == Done || e.State == Compensated) && !now.Before(e.At)
}

// Blocks reports whether an ordered run with a token has to have e compensated first.
func (e *Entry) Blocks(fence int64) bool {
	return e.State == Open && (e.Fence != fence || e.Reason != "" || e.Claimed != 0)
}

// InTheWay is e as an ordered Begin returns it.
func (e *Entry) InTheWay(now time.Time) record.Open {
	o := record.Open{Ref: e.Ref()}
	if e.Answer != nil && e.Attempt > 0 {
		o.Backoff = e.At.Sub(now)
	}
	return o
}

// Missing is what an end leaves of a record that the log does not have; false: nothing.
func Missing(end record.End, now time.Time) (Entry, bool) {
	var e Entry
	switch end.Outcome {
	case record.EndFailed, record.EndLate, record.EndMismatch:
	default:
		return e, false
	}
	e.reopen(end, record.Reason(end.Outcome), now)
	return e, true
}

// Check replaces the checkpoint, unless a higher one is there; false: the run does not go on.
func (e *Entry) Check(n int64, data []byte) bool {
	if e.State != Open || e.Claimed != 0 || e.Reason != "" {
		return false
	}
	if n >= e.Checkpoints {
		e.Checkpoints, e.Checkpoint = n, data
	}
	return true
}

// End is the end of e's run. void: the record is to be deleted. claimed: it is late, though
// the outcome is done.
func (e *Entry) End(end record.End, now time.Time) (void, claimed bool) {
	switch {
	case end.Outcome == record.EndMismatch:
		if e.State == Done || e.State == Compensated {
			e.Started = now
			e.reopen(end, record.Mismatch, now)
		}
	case e.State == Done:
		if end.Outcome == record.EndLate && !end.Sealed {
			e.reopen(end, record.Late, now)
		}
	case end.Outcome == record.EndVoid:
		return e.State == Open && e.Claimed == 0, false
	case e.State != Open:
		e.reopen(end, record.Late, now)
		return false, end.Outcome == record.EndDone
	case e.Claimed != 0:
		e.Again, e.Reason, e.Err, e.Checkpoint, e.At = true, record.Late, end.Err, end.Checkpoint, now
		return false, end.Outcome == record.EndDone
	case end.Outcome == record.EndDone:
		e.finish(Done, end.Retain, now)
	default:
		e.Reason, e.Err, e.Checkpoint, e.At = record.Reason(end.Outcome), end.Err, end.Checkpoint, now
	}
	return false, false
}

// reopen makes e what end says, open and due.
func (e *Entry) reopen(end record.End, why record.Reason, now time.Time) {
	started := e.Started
	if started.IsZero() {
		started = now
	}
	*e = Entry{Record: end.Record, State: Open, At: now, Claimed: e.Claimed}
	e.Reason, e.Attempt, e.Started = why, 0, started
}

func (e *Entry) finish(s State, retain time.Duration, now time.Time) {
	e.State, e.At, e.Payload, e.Checkpoint = s, now.Add(retain), nil, nil
}

// Claim begins an attempt, if it is granted.
func (e *Entry) Claim(c record.Claim, now time.Time) record.State {
	switch {
	case e.State != Open:
		return record.Finished
	case c.Fence < e.Claimed:
		return record.Refused
	case !c.Settled && e.Reason == "":
		return record.Unsettled
	case e.By == c.By:
		return record.Granted // repeated
	case e.Reason == "":
		e.Reason = record.Abandoned
	case e.Again: // as if it were never tried
		e.Attempt = 0
	}
	e.Attempt++
	e.By, e.Claimed, e.Answer, e.Again, e.Busy, e.At = c.By, c.Fence, nil, false, 0, now.Add(c.Lap)
	return record.Granted
}

// Resolve ends an attempt.
func (e *Entry) Resolve(v record.Verdict, now time.Time) record.Resolved {
	if e.By != v.By {
		return record.Void
	}
	if e.Answer != nil {
		return *e.Answer // repeated
	}
	answer := record.Accepted
	switch {
	case e.Again:
		answer, e.Again, e.Attempt, e.At = record.Again, false, 0, now
	case v.Result == record.Compensated:
		e.finish(Compensated, v.Retain, now)
	case v.Result == record.Die:
		e.State, e.Err, e.At = Dead, v.Err, now
	default:
		e.Err, e.At = v.Err, now.Add(v.After)
	}
	e.Answer = &answer
	return answer
}

// Requeue makes a dead entry open, as if it were never tried; false: it is not dead.
func (e *Entry) Requeue(now time.Time) bool {
	if e.State != Dead {
		return false
	}
	e.State, e.At, e.Attempt, e.Busy, e.By, e.Answer, e.Again = Open, now, 0, 0, "", nil, false
	return true
}
