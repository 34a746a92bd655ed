package quorum

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestNewWantsAnOddNumberOfDifferentStores(t *testing.T) {
	a, b, c, d := guardtest.NewStore(), guardtest.NewStore(), guardtest.NewStore(), guardtest.NewStore()
	var none *guardtest.Store
	type wrapper struct{ *guardtest.Store }
	for want, stores := range map[string][]lease.Store{
		"0 stores":           {},
		"1 stores":           {a},
		"2 stores":           {a, b},
		"4 stores":           {a, b, c, d},
		"store 3 is store 1": {a, b, a},
		"store 2 is nil":     {a, nil, b},
		"store 3 is nil":     {a, b, none},
		"store 1 again":      {a, b, wrapper{a}},
		"a quorum itself":    {a, b, mustNew(t, b, c, d)},
	} {
		if s, err := New(stores...); err == nil || s != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New() = %v, %v; want an error with %q", s, err, want)
		}
	}
}

// For each count of nodes that are down.
func TestAMajorityIsNeededForEachCall(t *testing.T) {
	for _, n := range []int{3, 5} {
		for down := range n + 1 {
			t.Run(fmt.Sprintf("%d of %d down", down, n), func(t *testing.T) {
				bubble(t, n, func(t *testing.T, b *bench) {
					held, _ := b.mustAcquire(b.s)
					b.down(down)
					works := down <= n/2
					other := b.s.NewOwner("")
					a := timeout(time.Second)
					defer a.End()
					r := request(other)
					r.Key = "free"
					if reply, err := b.s.Acquire(a, r); reply.Granted != works || (err == nil) != works {
						t.Errorf("Acquire() = %+v, %v", reply, err)
					} else if err != nil && !errors.Is(err, errDown) {
						t.Errorf("Acquire() = %v, want the nodes' errors", err)
					}
					if reply, err := b.acquire(b.s, other); reply.Granted || (err == nil) != works {
						t.Errorf("Acquire() of a held key = %+v, %v", reply, err)
					}
					if reply := b.renew(held); reply.Held != works || (reply.Err == nil) != works {
						t.Errorf("Renew() = %+v", reply)
					}
					if reply, err := b.release(held); reply.Released != works || (err == nil) != works {
						t.Errorf("Release() = %+v, %v", reply, err)
					}
					b.down(0)
					time.Sleep(2 * ttl)
					b.mustAcquire(b.other())
				})
			})
		}
	}
}

func TestOneRoundTripIfTheNodesAgree(t *testing.T) {
	bubble(t, 5, func(t *testing.T, b *bench) {
		for _, n := range b.nodes {
			n.Delay(10 * time.Millisecond)
		}
		began := time.Now()
		_, reply := b.mustAcquire(b.s)
		if took := time.Since(began); took != 10*time.Millisecond {
			t.Errorf("Acquire took %v, the round trip is 10 ms", took)
		}
		if !reply.Sent.Equal(began) {
			t.Errorf("Sent is %v after the requests", reply.Sent.Sub(began))
		}
		if n := b.calls(guardtest.OpRenew); n != 0 {
			t.Errorf("%d calls to write the token back", n)
		}
	})
}

// The token of the first holder was minted by one node alone, whose counter is ahead. The
// second holder's majority is without that node.
func TestTokenIsWrittenBackWhereTheNodesDiffer(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		ahead := time.Now().Add(time.Hour).UnixMicro()
		b.putAhead(2, ahead)
		owner, first := b.mustAcquire(b.s)
		if first.Fence <= ahead {
			t.Fatalf("token %d, want above %d", first.Fence, ahead)
		}
		if _, err := b.release(owner); err != nil {
			t.Fatal(err)
		}
		b.nodes[2].Fail(errDown)
		if _, second := b.mustAcquire(b.other()); second.Fence <= first.Fence {
			t.Errorf("token %d after %d", second.Fence, first.Fence)
		}
	})
}

// A node that has lost the lease before the token arrives does not count.
func TestTokenThatAMajorityDoesNotTakeIsNotGranted(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		b.putAhead(0, time.Now().Add(time.Hour).UnixMicro())
		for _, n := range b.nodes {
			n.Delay(20 * time.Millisecond)
			time.AfterFunc(25*time.Millisecond, func() { n.Expire(key) })
		}
		owner := b.s.NewOwner("")
		if reply, err := b.acquire(b.s, owner); err == nil {
			t.Errorf("Acquire() = %+v, want an error", reply)
		}
		if n := b.holders(owner); n != 0 {
			t.Errorf("%d nodes have the lease", n)
		}
	})
}

// slow is a node whose request left long before its answer arrived.
type slow struct {
	*guardtest.Store
	before time.Duration
}

func (n slow) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	reply, err := n.Store.Acquire(ctx, r)
	reply.Sent = time.Now().Add(-n.before)
	return reply, err
}

func TestValidityCountsFromTheFirstRequestAndIsJudgedAfterTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, before := range []time.Duration{ttl / 2, ttl} {
			b := &bench{T: t, nodes: []*guardtest.Store{guardtest.NewStore(), guardtest.NewStore(), guardtest.NewStore()}}
			b.s = mustNew(t, b.nodes[0], slow{b.nodes[1], before}, b.nodes[2])
			b.nodes[2].Fail(errDown) // else it is not needed
			owner := b.s.NewOwner("")
			switch reply, err := b.acquire(b.s, owner); {
			case before < ttl && (err != nil || !reply.Granted || time.Since(reply.Sent) != before):
				t.Errorf("Acquire() = %+v, %v; want granted, sent %v ago", reply, err, before)
			case before >= ttl && err == nil:
				t.Errorf("Acquire() = %+v, want an error: nothing of the TTL is left", reply)
			case before >= ttl && b.holders(owner) > 0:
				t.Errorf("%d nodes have the lease", b.holders(owner))
			}
		}
		time.Sleep(3 * ttl)
	})
}

func TestErrorsNameTheNodes(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		b.down(2)
		_, err := b.acquire(b.s, b.s.NewOwner(""))
		if err == nil || !strings.Contains(err.Error(), "1 of 3 nodes answered, 2 are needed: node 1: ") || !errors.Is(err, errDown) {
			t.Errorf("Acquire() = %v", err)
		}
		// What one node refuses for good may be granted by the others later.
		refused := fmt.Errorf("out of memory: %w", lease.ErrRefused)
		b.nodes[0].Fail(refused)
		if _, err = b.acquire(b.s, b.s.NewOwner("")); err == nil || errors.Is(err, lease.ErrRefused) {
			t.Errorf("Acquire() = %v, want an error that a retry may change", err)
		}
		b.nodes[1].Fail(refused)
		if _, err = b.acquire(b.s, b.s.NewOwner("")); !errors.Is(err, lease.ErrRefused) {
			t.Errorf("Acquire() = %v, want refused", err)
		}
	})
}

func TestHolderIsFoundWhileItsGrantIsOnItsWayToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var nodes []lease.Store
		for i := range 5 {
			n := guardtest.NewStore()
			if i < 3 { // a majority has granted
				n.HoldFor("k", "a:1|holder|", time.Minute)
			}
			if i == 2 {
				n.Delay(50 * time.Millisecond)
			}
			nodes = append(nodes, n)
		}
		s := mustNew(t, nodes...)
		h, err := s.FindHolder(t.Context(), "k")
		if err != nil || h.Owner != "holder" {
			t.Errorf("FindHolder() = %+v, %v; want the holder of a majority", h, err)
		}
	})
}
