// Package lease is the contract between the engine that keeps leases, behind
// package guard, and the stores that hold them: redisstore on Redis, guardtest
// in memory.
//
// A Store answers single questions and keeps no state of its own about who
// should hold what. Waiting, renewal, trust and clean-up are the engine's. The
// suite in storetest proves that a Store keeps this contract.
//
// # Words
//
// A lease is the right of one owner to a key until its TTL ends. The owner is a
// tenure: one process holding or waiting for one key, named by an owner id. A
// fence (fencing token) is a number that only ever grows from one grant of a key
// to the next. A reservation is the short lease of a waiter who was granted the key
// and has not yet taken it.
package lease
