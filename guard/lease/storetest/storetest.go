// Package storetest holds every [lease.Store] to its contract. A store's own
// test calls it once for each topology that it supports:
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Fixture {
//			return storetest.Fixture{A: mystore.New(server), B: mystore.New(server)}
//		})
//	}
//
// The name of a subtest is the sentence of the contract that it proves. Subtests run
// in real time: what must not happen early is measured from before a request was
// sent to after its reply; what must happen is awaited for up to ten seconds. On a
// slow machine the suite is slow, it does not fail.
//
// The [Fixture] says what a store cannot do and how a test can interfere with its
// server. Sentences that need what is missing are not run; the suite logs how many.
package storetest

import (
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Fixture is a store under test. A and B are required.
type Fixture struct {
	// A and B are the stores of two processes over the same data. They may be
	// one value if the data cannot be shared otherwise.
	A, B lease.Store

	// NoQueue: the store promises waiters no order, and of several that ask at once it
	// may grant none. Joining gives no ticket: waiters poll often. A store that is a
	// lease.Watcher wakes them all the same.
	NoQueue bool

	// NoLimit: the store refuses a Limit above one, and says why.
	NoLimit bool

	// NoGrants: wake-ups never carry the token of the grant.
	NoGrants bool

	// Buried: an Acquire that reaches the server after its deadline may be granted, for
	// its TTL.
	Buried bool

	// Short is the TTL of the leases that the suite lets expire; 250 ms if it is 0. A
	// store that gives its servers only a part of the TTL to answer needs more, so that
	// a busy machine answers in time.
	Short time.Duration

	// Vanish deletes the lease of key behind the stores' backs.
	Vanish func(key string)

	// Foreign makes another program hold key under value; without a TTL if
	// ttl is 0.
	Foreign func(key, value string, ttl time.Duration)

	// TryForeign is Foreign by a program that takes key only if it is free, and
	// reports whether it did.
	TryForeign func(key, value string, ttl time.Duration) bool

	// Kept returns the names of what the store keeps for key: leases, holders,
	// queues, but not what all keys share.
	Kept func(key string) []string

	// Flush deletes all data, counters included, behind the stores' backs.
	Flush func()

	// Settle waits until no request for key is under way any more. A store over several
	// servers needs it: it answers when a majority has. Nil: answered requests are over.
	Settle func(key string)

	// Revoke has the holders of key told to stop, again until they hear of it.
	Revoke func(key, reason string)

	// Stall makes the servers process no request for d, and then answer what has
	// reached them. It returns once the stall has begun.
	Stall func(d time.Duration)
}

// Run checks the contract, one subtest after the other. open is called for
// each of them, and cleans up with t.Cleanup; subtests never share a key, so
// all may use one server.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	abilities := open(t).abilities()
	missing := make(map[ability]int)
	for _, group := range [][]check{
		ownerChecks, acquireChecks, renewChecks, releaseChecks,
		queueChecks, watchChecks, fenceChecks, keyChecks, contextChecks, raceChecks,
		limitChecks, permitChecks, vanishChecks, queueLimitChecks, watchLimitChecks, limitRaceChecks, leftoverChecks,
		tickChecks, tickCountChecks, holderChecks, stopChecks,
	} {
		for _, c := range group {
			if lack, suits := c.suits(abilities); !suits {
				missing[lack]++
				continue
			}
			t.Run(c.sentence, func(t *testing.T) { c.run(newContract(t, open(t))) })
		}
	}
	for lack, n := range missing {
		t.Logf("%d sentences are for stores with %s", n, lack)
	}
}

// check proves one sentence.
type check struct {
	sentence string
	needs    []ability
	run      func(c *contract)
}
