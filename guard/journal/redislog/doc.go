// Package redislog keeps the records of a journal on Redis 7.0 or newer: a single node,
// a primary behind Sentinel, or a Cluster.
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//	g, err := guard.New(redisstore.New(client))
//	...
//	j, err := journal.New(g, redislog.New(client))
//
// The log may be on another server than the leases.
//
// # What it keeps
//
// Each run has a hash of its own; open ones are in a few indexes, finished ones in none:
// Redis expires them. All keys of a run are in one slot, and every step is one script
// over a bounded number of them. A finished record takes at most 300 bytes, with a key of
// up to 40 bytes, mostly 170 to 230, and is kept for a day unless journal.Retain says less: at
// 1 000 runs a second that is 15 to 20 GB. A record's times are the server's. docs/design/journal.md lists the keys.
//
// # Failures
//
// The server needs appendonly yes and maxmemory-policy noeviction. It may restart, or
// lose its scripts (SCRIPT FLUSH). What it loses of its data, by a failover to a replica
// without the last writes or with appendfsync everysec, is lost to the journal: a run
// whose process died at the same time is not compensated. A run that ends and finds no
// record stores it again, unless it was done.
//
// A server whose memory is full refuses intents, so fn does not run; outcomes that are
// done, and compensations, are still stored.
//
// Calls return when their context ends, whatever the client's timeouts are. While a
// Cluster moves the slot, calls fail with TRYAGAIN, and fn does not run.
//
// # Permissions
//
// A user of the server needs, for the default prefix:
//
//	ACL SETUSER journal on >secret ~journal:* \
//	  +eval +evalsha +time +exists +del +persist +pexpire +hget +hset +hmget +hgetall \
//	  +hdel +hlen +hincrby +zadd +zrem +zscore +zcard +zrange +zrangebyscore \
//	  +hello +client|setinfo +ping +cluster|slots +cluster|shards +readonly +command
package redislog
