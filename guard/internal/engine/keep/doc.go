// Package keep turns a granted lease into one that a process can trust: it
// renews it, ends trust in time, and gives it back. Package queue decides which
// caller gets it; keep knows neither waiters nor how a lease was acquired.
//
// # Parts
//
// A [Lease] is one owner id's possession of a key, from grant to release. It
// serves one [Hold] after another: a hold is one run's share, with a fencing
// token of its own. When a hold ends, [Next] may begin another one; when the
// lease is lost or released, Next.OnFree is called: the key is free.
//
// # Trust
//
// A lease is trusted until sent + TTL − Margin, where sent lies before the
// request left that last acquired or renewed it. A slow reply thus buys no time.
// One timer for all leases, which does no I/O, fires at the earliest of these
// times whatever the renewals do. Trust is only ever extended, and once it has
// ended it does not revive. Two clocks are compared, the monotonic one and the
// wall clock: the first stands still while a machine sleeps, the second does not.
//
// When trust ends, listeners cancel the contexts under the hold, the process may
// acquire the key anew under another owner id, and renewal goes on, best effort,
// for as long as the run does: a run that ignores its context should at least
// keep others out while the store still allows it.
//
// # Goroutines
//
// None before the first lease and none after the last. While renewals are due,
// up to maxFlushers flushers, each started by the timer of renewals and ended by
// the store's reply or the attempt's timeout. When trust ends, the goroutine of
// the timer of expiries, briefly, and one for each listener of events, which End
// waits for. After a call of unknown outcome, one cleaner, which is a goroutine
// only during its attempts, and ends when the store has answered or the lease
// would have expired. Drain waits for those that call the store.
//
// # Locks
//
// One mutex per Keeper guards its leases, holds and timetables, and what a Next
// keeps under it. It is never held across I/O or a listener's call, so nothing
// slow runs under it.
package keep
