// Package engine turns one-shot store calls into leases that a process can
// trust. It is the machinery behind package guard, and has no other user.
//
// # Parts
//
// A line is everything one process knows about one key: the local waiters in
// order of arrival, the contender that stands for all of them in the store, and
// the tenure under which the process holds the key. A tenure is one owner id
// from grant to release. It serves one hold after another: a hold is what a
// single run has, with a fencing token of its own.
//
// A line may have a tenure and a contender at once: once the key cannot be
// handed on here any more, whoever waits takes a place in the store's line.
//
//	waiter ──┐                        ┌── hold (token 7)
//	waiter ──┼─ line ─ contender ─ tenure ── hold (token 8)
//	waiter ──┘           │            │
//	                   store       trust timer, renewals
//
// # Trust
//
// A tenure is trusted until sent + TTL − Margin, where sent is the moment
// before the request left that last acquired or renewed it. A slow reply thus
// buys no time. One timer for all tenures, which does no I/O, fires at the
// earliest of these moments whatever the renewals do. The moment only ever moves
// later, and once trust has ended it does not revive.
// Two clocks are compared, the monotonic one and the wall clock: the first
// stands still while a machine sleeps, the second does not.
//
// A waiter that is woken may start before it has asked again: the wake-up carries
// the token, and since the grant was made after the waiter's last answered
// question, it is trusted until that was sent + reservation − Margin, but not longer
// than a TTL − Margin from now.
//
// When trust ends, the contexts bound to the hold are cancelled, the line is
// free to contend again under another owner id, and renewal goes on, best
// effort, for as long as the run does: whoever ignores its context should at
// least keep others out when the store still allows it.
//
// # Goroutines
//
// None before the first call and none after the last. An uncontended acquire
// and its release run on the caller's. While somebody has to wait for a key, one
// contender per key (one per caller for those who share it): started when the
// first attempt brought no grant, ended by the grant or when nobody waits any
// more. While renewals are due, up to maxFlushers flushers, each started by the
// timer of renewals and ended by the store's reply or the attempt's timeout. When
// trust ends, the goroutine of the timer of expiries, for a moment, and one for
// each listener that is told, which End waits for. After a call
// of unknown outcome, one cleaner, which is a goroutine only during its attempts,
// and ends when the store has answered or the lease would have expired. Close asks
// all of them to end; Drain waits for those that call the store.
//
// # Locks
//
// One mutex per engine guards lines, tenures, holds and the timetables of renewals
// and expiries. It is never held across I/O, the cancellation of a caller's context
// or a caller's callback, so nothing slow runs under it.
package engine
