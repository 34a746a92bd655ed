// Package redisstore keeps leases on Redis: a single node, a primary behind
// Sentinel, or Redis Cluster. It needs Redis 7.0 or newer.
//
// # What is kept
//
//	<prefix><key>               the lease: a plain string with a TTL, its value the owner id
//	<prefix>q:{tag}:<key>       the line of waiters, a ZSET by ticket; gone when nobody asks any more
//	<prefix>h:{tag}:<key>       the holders, where several share the key, a ZSET by the end of their leases
//	<prefix>fence:{tag}         the fencing counter, one for each of Cluster's 16 384 slots, kept for ever
//	<prefix>tick:{tag}:<key>    the last tick of a schedule (see lease.TickStore), a hash; for 400 days after the last reservation
//	<prefix>inbox:<process id>  a Pub/Sub channel for wake-ups, one a process
//
// The lease is exactly what SET key value NX PX leaves behind, so with
// Prefix("") programs that lock in that way exclude this one, and are excluded.
// tag is a short text that hashes to the slot of the lease, so all keys of a
// lock live on one shard. While several owners share a key, the lease holds a
// marker instead of an owner id, "shared|…" or "limited|…". User keys that look
// like a companion have their lease moved aside, under a name with a control byte
// that no user key contains.
//
// # Access
//
// A user of the server's who may do what a Store does, and no more, with the default
// prefix:
//
//	ACL SETUSER jobguard on >password resetkeys resetchannels ~guard:* &guard:inbox:* -@all
//	  +evalsha +eval +time +get +set +exists +del +expire +pexpire +pttl
//	  +zadd +zcard +zcount +zscore +zrange +zrem +zpopmin +zremrangebyscore +hmget +hset
//	  +publish +subscribe +ping +pubsub|numsub
//	  +wait +cluster|slots +asking +command
//
// The last line is for [ReplicaAck] and for a Cluster. Without publish or subscribe
// waiters only poll: a handoff takes up to a second. Any other right that is missing
// is an error that wraps [lease.ErrRefused]; ACL LOG on the server says which.
//
// # Wake-ups
//
// Whoever releases a key that others wait for grants it to the first in line and
// publishes "<owner id>\n<server clock, µs>\n<token>\n<lease>" to that process's
// inbox. With it the waiter starts at once, if the grant is newer than its last
// answered question; the lease is then its for the reservation from that question
// on, and is made to last by a renewal. So the right to publish to inboxes belongs
// with the right to write the keys, and nobody else. With [ReplicaAck] a wake-up is
// only a reason to ask.
//
// # What happens on each failure
//
//   - A reply is lost: nothing is sent twice behind the caller's back, also not
//     by go-redis. The call returns an error and may have taken effect.
//   - A request is late, because Redis or the network stood still: an Acquire
//     that arrives after its context's deadline is refused by the server's own
//     clock. A late Renew or Release can only touch its own owner's lease.
//   - Scripts are flushed: they are sent again in full.
//   - Memory is full, a permission is missing, a key has the wrong type: the
//     error wraps [lease.ErrRefused]. Releases work while memory is full.
//   - A connection hangs: callers return when their context ends, and other
//     calls go round it. On a Cluster the hanging goroutine ends with the
//     client's ReadTimeout, or sooner if it has ContextTimeoutEnabled set.
//   - The wake-up connection breaks: waiters poll, and are all woken once it
//     is back.
//   - A slot moves: MOVED and ASK are followed. While keys are on their way
//     Redis answers TRYAGAIN: Acquire returns it, Release frees the key without
//     handing it on, Renew works.
//   - A server's clock jumps, its data is lost, or an unsynced replica is
//     promoted: a key can be held twice for a moment. Fencing tokens still
//     grow, unless the clock that serves is behind tokens already given out.
//     Tokens are microseconds of that clock; a process that hands a key on among
//     its own goroutines reserves up to 10 ms of them ahead.
//
// # Concurrency
//
// Calls that are made at the same time share pipelines, by group commit: what
// comes while all flushers are busy goes out with the next. go-redis' own
// AutoPipeline, which is marked experimental, was measured beside it, with the same
// scripts in the same run: 31 000 runs a second against 46 000 with 256 goroutines
// (go-redis 9.23, two cores, medians of six rounds in turns). A Store has no
// goroutine of its own while nothing is going on: those that send end when
// nothing is left to send, and the one that listens for wake-ups ends a moment
// after the last [Store.Unwatch]. It does not start before a watched
// owner has to wait. The client is never closed.
package redisstore
