package lease

import (
	"context"
	"errors"
	"strings"
)

// HolderOperator is an [Operator] whose orders can name the holder that they are meant for, and say
// what came of them.
type HolderOperator interface {
	Operator
	// RevokeHolder is Revoke for the holders that o names.
	RevokeHolder(ctx context.Context, o Order) (Outcome, error)
	// BreakHolder is Break for the leases that o names. Those of others are not touched.
	BreakHolder(ctx context.Context, o Order) (Outcome, error)
}

// Order is meant for holders of a key.
type Order struct {
	Key    string
	Holder string // whom it is meant for, as [Holder.Named] knows it; "": all who hold the key
	Reason string // of a revocation
}

// Outcome is what came of an order. It is empty if nobody held the key.
type Outcome struct {
	// Told are holders whose runs have been told.
	Told []Holder
	// Silent are holders that did not say so, and hold the key no more: after a revocation their
	// leases ended meanwhile. With an error it also has those that hold the key still.
	Silent []Holder
}

// ErrOtherHolder is that others hold the key than the one an [Order] names. Nothing was done.
var ErrOtherHolder = errors.New("the key has another holder")

// ShortID is ID without the names that people gave, "<process>:<sequence>", which tells the lease
// from any other; of what is no owner id, ID itself.
func (h Holder) ShortID() string {
	if h.Process == "" {
		return h.ID
	}
	id, _, _ := strings.Cut(h.ID, "|")
	return id
}

// Named reports whether s names the holder: by its ID or ShortID, which one lease has, or by its
// process.
func (h Holder) Named(s string) bool {
	return s != "" && (s == h.ID || s == h.ShortID() || s == h.Process)
}
