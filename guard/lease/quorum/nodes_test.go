package quorum

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// bench is a Store over nodes in memory, and one owner of one key.
type bench struct {
	*testing.T
	nodes []*guardtest.Store
	s     *Store
}

func newBench(t *testing.T, n int) *bench {
	t.Helper()
	b := &bench{T: t}
	stores := make([]lease.Store, n)
	for i := range n {
		b.nodes = append(b.nodes, guardtest.NewStore())
		stores[i] = b.nodes[i]
	}
	b.s = mustNew(t, stores...)
	return b
}

// other is the Store of another process over the same nodes.
func (b *bench) other() *Store {
	stores := make([]lease.Store, len(b.nodes))
	for i, n := range b.nodes {
		stores[i] = n
	}
	return mustNew(b.T, stores...)
}

const (
	key = "k"
	ttl = 10 * time.Second
)

var place = lease.Place{Reservation: time.Second, Poll: time.Second}

func request(owner string) lease.AcquireRequest {
	return lease.AcquireRequest{Key: key, Owner: owner, TTL: ttl, Join: true, Place: place, TokenCount: 1}
}

// timeout is the context of a call of the engine.
func timeout(d time.Duration) *lease.Attempt { return lease.NewAttempt(time.Now().Add(d)) }

func (b *bench) acquire(s *Store, owner string) (lease.AcquireReply, error) {
	a := timeout(time.Second)
	defer a.End()
	return s.Acquire(a, request(owner))
}

func (b *bench) mustAcquire(s *Store) (owner string, reply lease.AcquireReply) {
	b.Helper()
	owner = s.NewOwner("")
	reply, err := b.acquire(s, owner)
	if err != nil || !reply.Granted {
		b.Fatalf("Acquire() = %+v, %v; want granted", reply, err)
	}
	return owner, reply
}

func (b *bench) renew(owner string) lease.RenewReply {
	a := timeout(time.Second)
	defer a.End()
	return b.s.Renew(a, []lease.RenewRequest{{Key: key, Owner: owner, TTL: ttl}})[0]
}

func (b *bench) release(owner string) (lease.ReleaseReply, error) {
	a := timeout(time.Second)
	defer a.End()
	return b.s.Release(a, lease.ReleaseRequest{Key: key, Owner: owner, Place: place})
}

// holders counts the nodes whose holder of the key is owner's.
func (b *bench) holders(owner string) (n int) {
	for _, node := range b.nodes {
		if value, ok := node.Holder(key); ok && ownerOf(value) == owner {
			n++
		}
	}
	return n
}

func (b *bench) calls(op guardtest.Op) (n int) {
	for _, node := range b.nodes {
		n += node.Calls(op)
	}
	return n
}

// putAhead has node i mint tokens above the given one only.
func (b *bench) putAhead(i int, token int64) {
	b.Helper()
	other := b.nodes[i].NewOwner("")
	_, err := b.nodes[i].Acquire(b.Context(), lease.AcquireRequest{Key: "other", Owner: other, TTL: ttl, TokenCount: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.nodes[i].Renew(b.Context(), []lease.RenewRequest{{Key: "other", Owner: other, TTL: ttl, Fence: token}})
}

var errDown = errors.New("connection refused")

// split gives the first two nodes to two other owners, who keep them in a split vote against
// owner.
func (b *bench) split(owner string) {
	for i := range 2 {
		other := b.s.NewOwner("")
		for rank(other) > rank(owner) {
			other = b.s.NewOwner("")
		}
		b.nodes[i].HoldFor(key, b.s.idOn(i, 0, other), ttl)
	}
}

// down makes n nodes, from the first, fail; the others work.
func (b *bench) down(n int) {
	for i, node := range b.nodes {
		if node.Fail(nil); i < n {
			node.Fail(errDown)
		}
	}
}

// bubble runs a test on the fake clock, and all that was started ends in it.
func bubble(t *testing.T, n int, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, newBench(t, n))
		time.Sleep(3 * ttl) // cleaners end
	})
}
