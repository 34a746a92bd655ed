// Package storetest holds every [lease.Store] to its contract. A store's own
// test calls it once for each topology that it supports:
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Fixture {
//			return storetest.Fixture{A: mystore.New(server), B: mystore.New(server)}
//		})
//	}
//
// Each subtest is named for the sentence of the contract that it proves, and
// runs in real time: what must not happen early is judged from before a request
// was sent to after its reply came, what must happen at all is awaited for up
// to ten seconds. A slow machine makes the suite slow, not red.
//
// What a store can do beyond a single server's data, or cannot do, is said in
// its [Fixture]; subtests that need what is missing are skipped by name.
package storetest

import (
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Fixture is a store to be judged. A and B are required.
type Fixture struct {
	// A and B are the stores of two processes over the same data. They may be
	// one value if the data cannot be shared otherwise.
	A, B lease.Store

	// NoQueue says that waiters do not stand in line: they poll, and whoever
	// comes first is granted. Joining gives no ticket.
	NoQueue bool

	// NoLimit says that the store refuses limits (a Limit of one or more).
	// Readers it must take.
	NoLimit bool

	// NoGrants says that wake-ups never tell the token of the grant.
	NoGrants bool

	// Vanish deletes the lease of key behind the stores' backs.
	Vanish func(key string)

	// Foreign makes another program hold key under value; without a TTL if
	// ttl is 0.
	Foreign func(key, value string, ttl time.Duration)

	// TryForeign is Foreign by a program that minds ours: it takes key only if
	// it finds it free, and says whether it did.
	TryForeign func(key, value string, ttl time.Duration) bool

	// Kept returns what the store keeps for key, in any words: leases, places,
	// lines, but not what all keys share.
	Kept func(key string) []string

	// Flush deletes all data, counters included, behind the stores' backs.
	Flush func()

	// Stall makes the servers take no request for d, and answer then what has
	// reached them meanwhile. It returns once the stall has begun.
	Stall func(d time.Duration)
}

// Run checks the contract, one subtest after the other. open is called for
// each of them, and cleans up with t.Cleanup; subtests never share a key, so
// all may use one server.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	for _, group := range [][]check{
		ownerChecks, acquireChecks, renewChecks, releaseChecks,
		queueChecks, watchChecks, fenceChecks, keyChecks, contextChecks, raceChecks,
		limitChecks, placeChecks, lostPlaceChecks, turnChecks, turnWakeChecks, limitRaceChecks, keptChecks,
		tickChecks, holderChecks,
	} {
		for _, c := range group {
			t.Run(c.sentence, func(t *testing.T) { c.run(newContract(t, open(t))) })
		}
	}
}

// check proves one sentence.
type check struct {
	sentence string
	run      func(c *contract)
}
