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

// attempt1 is the context of a call of the engine.
func attempt1(d time.Duration) *lease.Attempt { return lease.NewAttempt(time.Now().Add(d)) }

func (b *bench) acquire(s *Store, owner string) (lease.AcquireReply, error) {
	a := attempt1(time.Second)
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
	a := attempt1(time.Second)
	defer a.End()
	return b.s.Renew(a, []lease.RenewRequest{{Key: key, Owner: owner, TTL: ttl}})[0]
}

func (b *bench) release(owner string) (lease.ReleaseReply, error) {
	a := attempt1(time.Second)
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

func TestNewWantsAnOddNumberOfDifferentStores(t *testing.T) {
	a, b, c, d := guardtest.NewStore(), guardtest.NewStore(), guardtest.NewStore(), guardtest.NewStore()
	var none *guardtest.Store
	for want, stores := range map[string][]lease.Store{
		"0 stores":           {},
		"1 stores":           {a},
		"2 stores":           {a, b},
		"4 stores":           {a, b, c, d},
		"store 3 is store 1": {a, b, a},
		"store 2 is nil":     {a, nil, b},
		"store 3 is nil":     {a, b, none},
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
					a := attempt1(time.Second)
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

func TestANodeThatWasAwayIsRepairedAtTheNextRenewal(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		b.down(1)
		owner, _ := b.mustAcquire(b.s)
		b.down(0)
		if reply := b.renew(owner); !reply.Held {
			t.Fatalf("Renew() = %+v", reply)
		}
		synctest.Wait()
		if n := b.holders(owner); n != 3 {
			t.Errorf("%d of 3 nodes have the lease after a renewal", n)
		}
		b.nodes[2].Expire(key) // it restarts empty
		if reply := b.renew(owner); !reply.Held {
			t.Fatalf("Renew() = %+v", reply)
		}
		synctest.Wait()
		if n := b.holders(owner); n != 3 {
			t.Errorf("%d of 3 nodes have the lease after the second renewal", n)
		}
		if _, err := b.release(owner); err != nil {
			t.Fatal(err)
		}
		if n := b.holders(owner); n != 0 {
			t.Errorf("%d nodes have the lease after the release", n)
		}
	})
}

func TestALeaseThatAMajorityHasLostIsNotCreatedAgain(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		owner, _ := b.mustAcquire(b.s)
		b.nodes[0].Expire(key)
		b.nodes[1].Expire(key)
		for range 3 {
			if reply := b.renew(owner); reply.Held || reply.Err != nil {
				t.Errorf("Renew() = %+v, want lost", reply)
			}
			synctest.Wait()
		}
		if n := b.holders(owner); n != 1 {
			t.Errorf("%d nodes have the lease, want the one that never lost it", n)
		}
		// One lost it, one does not answer: nothing is known, and nothing is done.
		b.nodes[2].Fail(errDown)
		if reply := b.renew(owner); reply.Err != nil || reply.Held {
			t.Errorf("Renew() = %+v, want lost: two of three have said so", reply)
		}
		b.nodes[0].Fail(errDown)
		if reply := b.renew(owner); reply.Err == nil {
			t.Errorf("Renew() = %+v, want an error", reply)
		}
	})
}

// A repair that is under way when the run ends is given back when it has arrived.
func TestARepairDoesNotOutliveTheRelease(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		b.down(1)
		owner, _ := b.mustAcquire(b.s)
		b.down(0)
		b.nodes[0].Delay(100 * time.Millisecond)
		b.renew(owner)                     // returns before the first node has answered
		time.Sleep(110 * time.Millisecond) // which is asked for the lease now, and gets the request at 150 ms
		b.nodes[0].Delay(0)
		if reply, err := b.release(owner); err != nil || !reply.Released {
			t.Errorf("Release() = %+v, %v", reply, err)
		}
		time.Sleep(300 * time.Millisecond) // not yet a second after the first Acquire, which failed there
		if b.nodes[0].Calls(guardtest.OpAcquire) != 2 {
			t.Error("the test did not stage the repair")
		}
		if n := b.holders(owner); n != 0 {
			t.Errorf("%d nodes have the lease", n)
		}
	})
}

func TestALoserGivesBackWhatItGotAtOnce(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		b.nodes[0].HoldFor(key, "x", ttl)
		b.nodes[1].HoldFor(key, "x", ttl)
		owner := b.s.NewOwner("")
		if reply, err := b.acquire(b.s, owner); err != nil || reply.Granted || reply.Holder != "x" {
			t.Errorf("Acquire() = %+v, %v; want refused by x", reply, err)
		}
		if n := b.holders(owner); n != 0 {
			t.Errorf("%d nodes are kept by the loser", n)
		}
	})
}

// buried is a node whose connection breaks when it was sent an Acquire. The request
// arrives half a second later.
type buried struct{ *guardtest.Store }

func (n *buried) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	deadline, _ := ctx.Deadline()
	time.AfterFunc(500*time.Millisecond, func() {
		if time.Now().Before(deadline) {
			_, _ = n.Store.Acquire(context.Background(), r)
		}
	})
	return lease.AcquireReply{}, errDown
}

func TestARequestThatMayBeBuriedIsCleanedUpAtOnceAndAgain(t *testing.T) {
	for name, won := range map[string]bool{"of a holder that has left": true, "of a loser": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				far := &buried{guardtest.NewStore()}
				b := &bench{T: t, nodes: []*guardtest.Store{guardtest.NewStore(), guardtest.NewStore(), far.Store}}
				b.s = mustNew(t, b.nodes[0], b.nodes[1], far)
				owner := b.s.NewOwner("")
				if !won {
					b.nodes[0].HoldFor(key, "x", ttl)
					b.nodes[1].HoldFor(key, "x", ttl)
				}
				if reply, err := b.acquire(b.s, owner); err != nil || reply.Granted != won {
					t.Fatalf("Acquire() = %+v, %v", reply, err)
				}
				if won {
					// A node that is away is left to a cleaner from the start.
					if _, err := b.s.FindHolder(t.Context(), key); err != nil {
						t.Fatal(err)
					}
					if _, err := b.release(owner); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(10 * time.Millisecond)
				if far.Calls(guardtest.OpRelease) != 1 {
					t.Errorf("%d releases at once, want 1", far.Calls(guardtest.OpRelease))
				}
				time.Sleep(700 * time.Millisecond)
				if b.holders(owner) != 1 {
					t.Fatal("the test did not stage the late arrival")
				}
				time.Sleep(400 * time.Millisecond) // the attempt's second is over
				if n := b.holders(owner); n != 0 {
					t.Errorf("%d nodes have the lease", n)
				}
				time.Sleep(3 * ttl)
			})
		})
	}
}

// A release that was not answered may still arrive when the owner has the key.
func TestAReleaseOfAnEarlierAttemptNeverMeetsALaterLease(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		b.nodes[0].HoldFor(key, "x", ttl)
		b.nodes[1].HoldFor(key, "x", ttl)
		b.nodes[2].Inject(guardtest.Fault{Op: guardtest.OpRelease, Times: 1}) // buried, for all we know
		owner := b.s.NewOwner("")
		if reply, err := b.acquire(b.s, owner); err != nil || reply.Granted {
			t.Fatalf("Acquire() = %+v, %v", reply, err)
		}
		before, _ := b.nodes[2].Holder(key)
		if before == "" {
			t.Fatal("the node does not have what the loser got")
		}
		time.Sleep(3 * time.Second) // the attempt to release has ended
		b.nodes[0].Expire(key)
		b.nodes[1].Expire(key)
		if reply, err := b.acquire(b.s, owner); err != nil || !reply.Granted {
			t.Fatalf("Acquire() = %+v, %v", reply, err)
		}
		if _, err := b.nodes[2].Release(t.Context(), lease.ReleaseRequest{Key: key, Owner: before}); err != nil { // it arrives
			t.Fatal(err)
		}
		if n := b.holders(owner); n != 3 {
			t.Errorf("%d of 3 nodes have the lease", n)
		}
	})
}

func TestANodeThatDoesNotAnswerIsAskedByOneCallAtATime(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		for _, n := range b.nodes {
			n.Delay(time.Millisecond)
		}
		b.nodes[2].Inject(guardtest.Fault{}) // no reply, until the attempt's timeout
		took := func() time.Duration {
			began := time.Now()
			owner, _ := b.mustAcquire(b.s)
			d := time.Since(began)
			if _, err := b.release(owner); err != nil {
				t.Error(err)
			}
			return d
		}
		if d := took(); d > 2*time.Millisecond {
			t.Errorf("the first Acquire took %v", d)
		}
		time.Sleep(5 * time.Second) // the attempt's timeout is over
		asked := b.nodes[2].Calls(guardtest.OpAcquire)
		for range 100 {
			if d := took(); d > time.Millisecond {
				t.Fatalf("a later Acquire took %v", d)
			}
		}
		if n := b.nodes[2].Calls(guardtest.OpAcquire) - asked; n > 1 {
			t.Errorf("the node was asked %d times meanwhile", n)
		}
		b.nodes[2].Fail(nil)
		time.Sleep(5 * time.Second)
		for range 3 {
			took()
		}
		if owner, _ := b.mustAcquire(b.s); b.holders(owner) != 3 {
			t.Errorf("%d of 3 nodes have the lease when all are back", b.holders(owner))
		}
	})
}

// Each of three waiters is the first in the queue of one node, so that a release grants
// each of them a third of the key.
func TestASplitVoteEnds(t *testing.T) {
	for try := range 50 {
		bubble(t, 3, func(t *testing.T, b *bench) {
			holder, _ := b.mustAcquire(b.s)
			done := make(chan time.Time, 3)
			staged := make(chan struct{})
			for i := range 3 {
				s := b.other()
				owner := s.NewOwner("")
				woken := make(chan struct{}, 1)
				s.Watch(owner, lease.WakeFunc(func(lease.Grant) bool {
					select {
					case woken <- struct{}{}:
					default:
					}
					return false
				}))
				r := request(s.idOn(i, 0, owner))
				if reply, err := b.nodes[i].Acquire(t.Context(), r); err != nil || !reply.Head {
					t.Fatalf("%+v, %v", reply, err)
				}
				go func() {
					defer s.Unwatch(owner)
					<-staged
					for {
						if reply, err := b.acquire(s, owner); err != nil {
							t.Error(err)
						} else if reply.Granted {
							break
						}
						select {
						case <-woken:
						case <-time.After(time.Minute): // no message is lost
						}
					}
					if _, err := s.Release(t.Context(), lease.ReleaseRequest{Key: key, Owner: owner, Place: place}); err != nil {
						t.Error(err)
					}
					done <- time.Now()
				}()
			}
			close(staged)
			synctest.Wait()
			released := time.Now()
			if _, err := b.release(holder); err != nil {
				t.Error(err)
			}
			var last time.Time
			for range 3 {
				last = <-done
			}
			if took := last.Sub(released); took > place.Reservation/2 {
				t.Errorf("try %d: the last of three was served after %v", try, took)
			}
		})
	}
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

// One node has lost the last tick, and one did not hear of it.
func TestATickIsNotClaimedTwiceAfterTheLossOfANode(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		at := time.Now()
		b.nodes[2].Fail(errDown)
		first := lease.TickRequest{Key: "job", Owner: b.s.NewOwner(""), At: at, MaxAhead: -1}
		if reply, err := b.s.ClaimTick(t.Context(), first); err != nil || !reply.Claimed {
			t.Fatalf("ClaimTick() = %+v, %v", reply, err)
		}
		// The second restarts empty: another node is in its place.
		b.nodes[1] = guardtest.NewStore()
		b.nodes[2].Fail(nil)
		s := b.other()
		second := first
		second.Owner = s.NewOwner("")
		if reply, err := s.ClaimTick(t.Context(), second); err != nil || reply.Claimed || reply.Last.Owner != first.Owner {
			t.Errorf("ClaimTick() = %+v, %v; want refused by the first", reply, err)
		}
		if reply, err := s.ClaimTick(t.Context(), first); err != nil || !reply.Claimed {
			t.Errorf("the same owner asks again: ClaimTick() = %+v, %v", reply, err)
		}
	})
}

func TestTickWhoseReplyIsLostIsClaimedByTheSameOwner(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		r := lease.TickRequest{Key: "job", Owner: b.s.NewOwner(""), At: time.Now(), MaxAhead: -1, Fence: 7}
		for _, n := range b.nodes[:2] {
			n.Inject(guardtest.Fault{Op: guardtest.OpClaimTick, Err: errDown, Lost: true, Times: 1})
		}
		if reply, err := b.s.ClaimTick(t.Context(), r); err == nil {
			t.Errorf("ClaimTick() = %+v, want an error", reply)
		}
		if reply, err := b.s.ClaimTick(t.Context(), r); err != nil || !reply.Claimed {
			t.Errorf("ClaimTick() = %+v, %v; want claimed", reply, err)
		}
		b.nodes[0].Fail(errDown)
		if ended, err := b.s.EndTick(t.Context(), lease.TickEnd{Key: "job", Owner: r.Owner, At: r.At}); err != nil || !ended {
			t.Errorf("EndTick() = %t, %v", ended, err)
		}
		b.nodes[1].Fail(errDown)
		if _, err := b.s.LastTick(t.Context(), "job"); !errors.Is(err, errDown) {
			t.Errorf("LastTick() = %v, want an error", err)
		}
	})
}
