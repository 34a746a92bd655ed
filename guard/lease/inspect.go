package lease

import (
	"context"
	"time"
)

// Operator is implemented by a Store that lets people see who holds a key, and take it back.
type Operator interface {
	// Inspect returns what the store knows of key. It changes nothing. A free key is no error.
	Inspect(ctx context.Context, key string) (Inspection, error)
	// Revoke tells each holder of key to stop. Its lease is kept until its run has returned.
	Revoke(ctx context.Context, key, reason string) error
	// Break ends all leases of key at once. A run that is alive may go on beside the next.
	Break(ctx context.Context, key string) error
}

// Mode is how a key is held.
type Mode string

// The modes.
const (
	ModeFree      Mode = "free"
	ModeExclusive Mode = "exclusive"
	ModeLimit     Mode = "limit"   // by at most Inspection.Limit holders; also beside shared ones
	ModeShared    Mode = "shared"  // by readers
	ModeClosed    Mode = "closed"  // MinHold keeps it closed; a holder says whose
	ModeForeign   Mode = "foreign" // another program's lock, or data of another type
)

// Inspection is what a store knows of a key, at one moment.
type Inspection struct {
	Key     string // without the store's prefix
	Mode    Mode
	Limit   int      // of ModeLimit, the strictest of the holders; else 0
	Holders []Holder // of a limit also permits that MinHold keeps taken; their Process is ""
	Queue   []Waiter // the next one first

	// Holding and Waiting are how many hold the key and wait for it. Holders and
	// Queue have fewer where the store says so.
	Holding, Waiting int

	// LastToken is the last fencing token that the store gave for the key or one of those
	// beside it: no token of the key is higher. 0: there is none.
	LastToken int64
}

// Waiter is a candidate in the queue of a key: one process, with all its callers.
type Waiter struct {
	Owner   string // owner name
	Process string // process id
	Waited  time.Duration
}
