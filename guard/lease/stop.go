package lease

import "context"

// Stopper is implemented by a Store through which holders can be asked to stop. With
// any other Store a holder learns only at its renewal that its lease was taken away.
type Stopper interface {
	// Listen has heard called for each message to an owner of this Store that asks it
	// to stop, until end is called. A message may be missed, or come more than once, or
	// for an owner that holds nothing by now. heard is called on any goroutine, and
	// never blocks; it reports whether the owner was found and its run has been told. end
	// does not wait for calls under way.
	Listen(heard func(Stop) (told bool)) (end func())

	// Replace asks all holders of r.Key but r.Owner to stop, with kind Replaced. Turns
	// order those that ask it of a key: the first call of one, without a turn, takes the
	// next. Once a later turn was taken an earlier one is superseded, and asks nobody.
	Replace(ctx context.Context, r ReplaceRequest) (ReplaceReply, error)
}

// ReplaceRequest is what [Stopper.Replace] is asked.
type ReplaceRequest struct {
	Key   string
	Owner string // that waits for Key
	Turn  int64  // from an earlier reply; 0 in the first request
}

// ReplaceReply answers a ReplaceRequest.
type ReplaceReply struct {
	Turn       int64
	Superseded bool
}

// Stop asks an owner to end its run.
type Stop struct {
	Owner string
	Kind  StopKind
	Text  string // why, in the words of who asks; may be empty
}

// StopKind says who asks, and what the owner's lease is worth.
type StopKind string

// The kinds. After the first two the lease goes on until its run has returned.
const (
	Revoked  StopKind = "revoked"  // by an operator
	Replaced StopKind = "replaced" // by a newcomer that waits for the key
	Broken   StopKind = "broken"   // the lease has been deleted
)
