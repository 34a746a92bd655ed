// Package queue decides which caller of a process gets a key, and when: it waits,
// asks the store, and hands leases from one local caller to the next. What a
// granted lease needs is package keep's.
//
// # Parts
//
// A local queue is all that one process knows about one key: its waiters in order
// of arrival, the candidate that stands for all of them in the store's queue, and
// the lease under which the process holds the key. It may have a lease and a
// candidate at once: when the key cannot be handed over here any more, the
// candidate takes a place among those of other processes.
//
//	waiter ──┐                            ┌── hold (token 7)
//	waiter ──┼─ local ─ candidate ─ lease ──── hold (token 8)
//	waiter ──┘             │          │
//	                     store      trust timer, renewals (keep)
//
// # Wake-ups
//
// A waiter that is woken may start before it has asked again: the wake-up carries
// the token, and since the grant was made after the waiter's last answered
// request, it is trusted until that was sent + reservation − Margin, but not
// longer than TTL − Margin from now. A lost wake-up costs one poll.
//
// # Goroutines
//
// An uncontended acquire and its release run on the caller's. While callers wait
// for a key, one candidate per key (one per caller among those that share it):
// started when the first attempt brought no grant, ended by the grant or when the
// last waiter leaves. Close asks all of them to end; Drain waits for them.
//
// # Locks
//
// The Keeper's mutex guards local queues, waiters and candidates too: a hold's end
// and the next one's begin are one step. It is never held across I/O.
package queue
