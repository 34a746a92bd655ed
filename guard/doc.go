// Package guard runs functions once at a time across a fleet.
//
//	store := redisstore.New(redis.NewClient(&redis.Options{Addr: "localhost:6379"}))
//	g, err := guard.New(store)
//	...
//	err = g.Do(ctx, guard.Key("order", id), func(ctx context.Context) error {
//		// nobody else in the fleet runs under this key now
//		return ship(ctx, id)
//	})
//
// Do takes a lease on the key, renews it while the function runs, and gives it
// back when the function returns, panics or exits. Business code sees a context
// and no lock.
//
// # The promise
//
// While fn runs and its context is alive, nobody else in the fleet runs under
// the same key. When that can no longer be proven, the context is cancelled,
// with cause [ErrLost], before anyone else can start. Whoever does not notice
// can be refused by the resource itself: every run carries a fencing token that
// only ever grows ([Fence]).
//
// This assumes that the process is running, that server clocks do not jump, and
// that nobody deletes or shortens the key. Where that fails, the context ends at
// the next renewal or at the first look after the process was resumed, and only
// the token protects.
//
// # How it is kept
//
//   - A lease is trusted, that is, proven to be ours by our own clock, from before
//     the request was sent: until sent + TTL − Margin. A slow reply buys no time.
//   - A timer ends fn's context at that moment, whatever the network does. A
//     successful renewal, every TTL/3, moves it; once it has fired, the context
//     stays cancelled. ctx.Err, [Holding], [Fence] and [Ensure] compare
//     the clocks themselves, so that a process that was stopped past its TTL
//     learns of it at its first look.
//   - A failed renewal is tried again, soon, while trust lasts. Only the answer
//     "you are not the holder" is final.
//   - A lease ends when fn has returned, not when its context is cancelled: fn
//     may take its time to clean up, and nobody starts beside it.
//   - The release compares the owner, so it never ends somebody else's lease.
//   - Waiters stand in one line per key, across processes; a release grants the
//     key to the first of them. Callers in one process share its place in that
//     line, in order of arrival, and pass the key among themselves for 10 ms at
//     most before the next process has its turn; only from then on do those who
//     came during that time have a place among the processes.
//   - A waiter is woken by a message and also polls, so a lost message delays
//     it by a second at most. If it asked a short time ago, it starts on the
//     message alone, with trust for what is certain of its grant, and renews
//     within 10 ms.
//
// # What is not guaranteed
//
//   - Redis replicates asynchronously: a failover can hand a key out twice for
//     a moment, and an isolated old primary can go on granting. ReplicaAck makes
//     it rarer, a fencing token checked by the resource makes it harmless.
//   - maxmemory-policy must be noeviction.
//   - An external DEL or PEXPIRE, a restart without persistence, or a step of
//     the server's clock frees the key until the next renewal notices.
//   - Only the context that fn was given compares the clocks. One derived from
//     it, by context.WithTimeout say, learns of a loss when a timer fires or
//     somebody asks its parent.
//   - A forward step of this machine's wall clock by more than what is left of a
//     lease ends it here, though nothing happened on the server: a machine that
//     slept looks the same.
//   - A function that ignores its context cannot be stopped. While its process
//     lives, its lease is renewed as long as the store has it; see also [MaxHold].
//
// # Fencing
//
// A process can be paused between its last look at the context and a write.
// Then the resource must refuse. It remembers the highest token it has seen and
// accepts a write with token t only if t is higher, or equal and from the same
// run, in the same transaction that stores t:
//
//	token, ok := guard.Fence(ctx) // not ok under Limit, Shared and several keys
//	res, err := db.ExecContext(ctx,
//		`UPDATE stock SET n = ?, fence = ? WHERE sku = ? AND fence <= ?`, n, token, sku, token)
//
// A new holder writes its token to the resource before it reads what it bases
// its work on; otherwise a late write of its predecessor can still slip in.
//
// # Errors
//
//	outcome                                         error                             fn ran
//	somebody else holds the key, the wait is over   ErrBusy, with Holder, RetryAfter  no
//	the store could not be asked                    ErrUnavailable, with the cause    no
//	the caller's ctx ended while waiting            its error and cause; also         no
//	                                                ErrBusy if the key was held,
//	                                                ErrUnavailable if the store failed, or
//	                                                had not answered by ctx's deadline
//	the lease was lost while fn ran, even if        ErrLost, joined with fn's error   yes
//	fn returned nil
//	held longer than MaxHold                        ErrMaxHold, joined likewise       yes
//	Shutdown while waiting, or before the call      ErrClosed                         no
//	the key cannot be used                          ErrInvalidKey                     no
//	fn failed                                       fn's error, unchanged             yes
//	fn succeeded, the release could not be made     nil; observers are told           yes
//
// Transport errors and answers like LOADING, READONLY and CLUSTERDOWN are
// retried for the lesser of Wait and TTL; OOM, NOPERM and WRONGTYPE are not. An
// attempt takes up to 2 s, also with Wait(0), and so does a release.
// Errors of guard are of type [*Error] and match the Err… values by errors.Is.
//
// # Several runs at once
//
// [Limit] lets n runs proceed at once under a key, [Shared] any number of
// readers, and an exclusive run none beside it. All stand in the same line, so a
// writer that waits is not overtaken by readers that come after it. Such runs
// have no fencing token.
//
// # Nested runs
//
// Reentrancy follows the context, not the goroutine: a Do on a key that ctx
// holds already, in the same store, runs under the same lease, which ends after
// the last of the nested runs. A stricter run inside a Shared or Limit run of the
// same key would wait for it for ever and is refused at once. Goroutines that share
// a context share its lease and do not exclude each other. fn's context is cancelled
// when fn returns: what goes on after that needs a context.WithoutCancel of it, and
// its Do acquires anew. A Do with another context than fn's, or over a second Store
// for the same keys, waits for the run around it.
//
// # Goroutines
//
// [New] starts none. While somebody waits for a key there is one per key; while
// renewals are under way there are a few; a held lease costs none. fn runs on
// the caller's goroutine. [Guard.Shutdown] ends them all.
package guard
