package guard

import (
	"context"
	"errors"

	"github.com/jobguard/jobguard/guard/internal/validkey"
	"github.com/jobguard/jobguard/guard/lease"
)

// Holder is who holds a key: Owner, Process, Metadata, Token, ID, and the time
// Remaining. It is zero, with an empty Owner, if the key is free. See [lease.Holder].
type Holder = lease.Holder

// Holder asks the store who holds key now; of several holders it names any. The
// error is ErrUnavailable, with the cause, if the store cannot say, and
// ErrInvalidKey. The call is bounded by ctx, and by the guard's TTL.
func (g *Guard) Holder(ctx context.Context, key string) (Holder, error) {
	const op = "holder"
	if err := validkey.Check(key); err != nil {
		return Holder{}, &Error{Op: op, Key: key, Kind: ErrInvalidKey, Err: err}
	}
	store, ok := g.Store().(lease.HolderFinder)
	if !ok {
		return Holder{}, &Error{Op: op, Key: key, Kind: ErrUnavailable, Err: errors.New("this store cannot say")}
	}
	ctx, cancel := context.WithTimeout(ctx, g.opts.ttl)
	defer cancel()
	h, err := store.FindHolder(ctx, key)
	if err != nil {
		return Holder{}, &Error{Op: op, Key: key, Kind: ErrUnavailable, Err: err}
	}
	return h, nil
}
