// Package redisstore keeps leases on Redis 7.0 or newer: a single node, a primary
// behind Sentinel, or Redis Cluster.
//
//	package main
//
//	import (
//		"context"
//		"log"
//
//		"github.com/redis/go-redis/v9"
//
//		"github.com/jobguard/jobguard/guard"
//		"github.com/jobguard/jobguard/guard/lease/redisstore"
//	)
//
//	func main() {
//		client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//		g, err := guard.New(redisstore.New(client, redisstore.Prefix("shop:")))
//		if err != nil {
//			log.Fatal(err)
//		}
//		err = g.Do(context.Background(), "import", func(ctx context.Context) error {
//			return nil // runs in one process at a time; stops when ctx ends
//		})
//		log.Print(err)
//	}
//
// A lease is a plain string with a TTL, as SET key value NX PX leaves it. The queue,
// the holders under a limit, the fencing counter and ticks have keys of their own in
// the same slot. Changes are atomic scripts, but for a caller's first attempt on a key
// that seems free: plain commands, SET NX first (docs/design/redisstore-first-try.md).
//
// # Guarantees
//
// A Store keeps the contract of [lease.Store], [lease.Watcher] and [lease.TickStore];
// guard/lease/storetest proves it on a node and on a Cluster. It does not survive
// the loss of data on the server: if a replica without the last writes is promoted,
// or the data is deleted, a key can be held twice until the next renewal.
// [ReplicaAck] makes that rarer. Fencing tokens rise even then, unless the server's
// clock is behind tokens already minted.
//
// # Failures
//
// Calls return by the deadline of their context; after an error a call may have taken
// effect. A request without an answer is sent again over a fresh connection, after
// twice the round trip and at least 100 ms. An Acquire that reaches the server after
// its deadline has no effect, unless it is a caller's first attempt for a key that
// seemed free: then its lease may last for its TTL. Errors that a retry does not change wrap
// [lease.ErrRefused]. Without wake-ups, for example without permission for channels,
// waiters poll.
//
// [Check] tells whether a server is fit for leases. [Store.Inspect], [Store.List],
// [Store.Revoke] and [Store.Break] are for operators: see docs/operating.md.
// docs/behaviour/redisstore.md lists the keys, the permissions of a server user, which
// client options suit, and each failure with the test that shows it.
//
// # Concurrency
//
// Concurrent calls share pipelines. An idle Store has no goroutine: those that send
// end with the reply, or some seconds after their callers have left; the one that
// receives messages starts when a watched owner has to wait, or an engine listens
// ([Store.Listen]), and ends shortly after the last of them. Fresh connections are the
// Store's own, without the client's hooks; it closes them when unused for 5 s.
package redisstore
