// Package quorum makes one lease.Store of several independent ones: a lease that
// survives the loss of a minority of its servers, with fencing tokens that rise all the
// same. It is the algorithm known as Redlock, with renewal, tokens and clean-up.
//
//	var stores []lease.Store
//	for _, addr := range []string{"redis-a:6379", "redis-b:6379", "redis-c:6379"} {
//		stores = append(stores, redisstore.New(redis.NewClient(&redis.Options{Addr: addr})))
//	}
//	store, err := quorum.New(stores...)
//	…
//	g, err := guard.New(store)
//
// # Guarantees
//
// A lease is held if a majority of nodes say so, to acquire and to renew. Validity counts
// from before the first request that is used left, and is judged after the last answer.
// So two owners never hold a key at once, and tokens strictly rise, while any minority of
// nodes is down, slow, restarts empty, or loses requests and replies, if
//
//   - nodes do not share data: no replication between them, no common disk;
//   - a node that restarts without its data serves no requests for one TTL, and different
//     nodes do so at least one TTL apart (or all writes are on disk before the reply);
//   - clocks run at rates that differ by less than the guard's Margin in a TTL, and those
//     of nodes that lose data differ by less than 10 ms.
//
// A simulation of the real Store over nodes that crash, forget and answer late holds this,
// and finds each rule that is broken on purpose.
//
// # What is down, what works
//
// Of N nodes (N-1)/2 may be down, 1 of 3 and 2 of 5, and all works. With more down nothing
// is granted and nothing renewed: guard.Do returns guard.ErrUnavailable, and contexts of
// present runs end before their leases do. A node that comes back is given the leases
// again at their next renewals. A lease that a majority has lost is never created again.
//
// # Not promised
//
// Waiters have no common queue. A release grants its part to the next at each node, mostly
// the same one, which starts when a majority has; a waiter that is not woken asks again
// within 250 ms. A waiter that dies with a minority of parts keeps those nodes from others
// for its TTL; while it lives it gives them back, or keeps them if its TTL is a minute at
// most and it may help. A guard.Limit above one is refused with an error that says
// why; Shared and Limit(1) work. A tick of a schedule is claimed by a majority; a claim that
// breaks off halfway leaves it claimed.
//
// # Cost
//
// As many commands as nodes, side by side. An acquire takes the time of a majority and
// half as long again at most for the others; a node that does not answer is asked by one
// call at a time. One round trip acquires, if the nodes' clocks agree within 10 ms, and
// two if not. A held lease has no goroutine.
//
// docs/behaviour/quorum.md lists each sentence with its test and how to run the servers,
// docs/design/quorum.md the reasons, docs/topologies.md when to choose what.
package quorum
