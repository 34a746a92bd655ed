// Package lease is the contract between package guard, whose engine keeps leases,
// and the stores that hold them: redisstore on Redis, guardtest in memory.
//
// A [Store] answers single requests. Waiting, renewal, trust and clean-up are the
// engine's. A Store may also be a [Watcher], which wakes waiters, a [Stopper], which asks
// holders to stop, and a [TickStore], which remembers the ticks of schedules. The suite in storetest proves that a store
// keeps the contract.
//
// # Words
//
// A lease is the right of one owner to a key until its TTL ends. An owner id names
// one lease, from the first request to the release. A fencing token ([Grant.Fence])
// is a number that grows from grant to grant of a key. The queue is the waiters of a
// key in order of arrival. A reservation is the short lease that comes with a grant
// to a waiter, until the waiter has taken it.
package lease
