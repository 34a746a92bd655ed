// Package guard runs functions once at a time across a fleet.
//
//	store := redisstore.New(redis.NewClient(&redis.Options{Addr: "localhost:6379"}))
//	g, err := guard.New(store)
//	...
//	err = g.Do(ctx, guard.Key("order", id), func(ctx context.Context) error {
//		// No other process of the fleet runs under this key now.
//		return ship(ctx, id)
//	})
//
// Do takes a lease on the key, renews it while the function runs, and gives it
// back when the function returns, panics or exits. Business code sees a context
// and no lock.
//
// # What it guarantees
//
// While fn runs and its context is alive, no other run of the fleet goes on under
// the same key. When that can no longer be proven, the context is cancelled, with
// cause [ErrLost], before another run can start. A run that does not notice can be
// refused by the resource itself: every exclusive run carries a fencing token that
// only ever grows ([Fence]).
//
// This assumes that the process is running, that server clocks do not jump, and
// that the key is not deleted, nor its TTL shortened, from outside. Where that fails, the
// context ends at the next renewal or at the first look after the process was
// resumed, and only the token protects.
//
// # What it does not
//
// Redis replicates asynchronously: a failover can hand a key out twice for a
// moment. maxmemory-policy must be noeviction. A function that ignores its context
// cannot be stopped. Only the context that fn was given compares the clocks itself;
// one derived from it learns of a loss when a timer fires.
//
// # On failure
//
// Errors are of type [*Error] and match one of these by errors.Is:
//
//	ErrBusy         the key is held, and the wait is over; with Holder and RetryAfter
//	ErrUnavailable  the store could not be asked; with the cause
//	ErrLost         the lease was lost while fn ran, even if fn returned nil
//	ErrMaxHold      fn ran longer than MaxHold
//	ErrRevoked      an operator told the run to stop; ErrReplaced: a newcomer did
//	ErrClosed       Shutdown has begun
//	ErrInvalidKey, ErrOrder, ErrUnproven   see there
//
// After ErrLost, ErrMaxHold, ErrRevoked, and ErrReplaced without ErrBusy, fn has run,
// perhaps in part. When the caller's context ends during the wait, the error matches the
// context's, and ErrBusy or ErrUnavailable where that is known. fn's own error is
// returned unchanged.
//
// # More
//
// What is promised, with a test for each line, and what is not: docs/behaviour/guard.md, on
// errors, nested runs, several runs under one key, fencing, observers. Stores are
// lease/redisstore and, for tests, guardtest; adapters httpmw, asynqmw and cronwrap.
package guard
