package quorum

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

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
		owner := b.s.NewOwner("")
		b.split(owner)
		if reply, err := b.acquire(b.s, owner); err != nil || reply.Granted || lease.OwnerProcess(reply.Holder) == "" {
			t.Errorf("Acquire() = %+v, %v; want refused by an owner", reply, err)
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
		owner := b.s.NewOwner("")
		b.split(owner)
		b.nodes[2].Inject(guardtest.Fault{Op: guardtest.OpRelease, Times: 1}) // buried, for all we know
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

// What the node says is about a lease that it may be about to lose.
func TestARenewalDoesNotCountANodeWhereACallIsUnderWay(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		owner, _ := b.mustAcquire(b.s)
		busy := func(on bool) {
			b.s.mu.Lock()
			defer b.s.mu.Unlock()
			b.s.owners[owner].parts[2].busy = on
		}
		busy(true)
		if reply := b.renew(owner); !reply.Held {
			t.Errorf("Renew() = %+v, two nodes have the lease", reply)
		}
		b.nodes[1].Fail(errDown)
		if reply := b.renew(owner); reply.Held || reply.Err == nil {
			t.Errorf("Renew() = %+v, want an error: one node counts", reply)
		}
		b.nodes[1].Fail(nil)
		b.nodes[1].Delay(10 * time.Millisecond)
		if reply := b.renew(owner); !reply.Held {
			t.Errorf("Renew() = %+v, the second node that counts was not waited for", reply)
		}
		b.nodes[1].Fail(errDown)
		busy(false)
		if reply := b.renew(owner); !reply.Held {
			t.Errorf("Renew() = %+v, two nodes count again", reply)
		}
	})
}

// It would end a lease that is acquired, or counted by a renewal, meanwhile.
func TestAnIDIsOutOfUseBeforeItsReleaseIsSent(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		owner := b.s.NewOwner("")
		b.split(owner)
		b.nodes[2].Inject(guardtest.Fault{Op: guardtest.OpRelease, Times: 1})
		before := b.s.idOn(2, 0, owner)
		time.AfterFunc(time.Millisecond, func() { // the release is under way
			if id := b.s.presentID(2, owner); id == before {
				t.Error("the id is in use while it is released")
			}
		})
		if reply, err := b.acquire(b.s, owner); err != nil || reply.Granted {
			t.Errorf("Acquire() = %+v, %v", reply, err)
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

// resent is a node that refuses, after it was sent the request a second time; the first one
// arrives later.
type resent struct{ *guardtest.Store }

func (n *resent) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	time.AfterFunc(500*time.Millisecond, func() { _, _ = n.Store.Acquire(context.Background(), r) })
	reply, err := n.Store.Acquire(ctx, r)
	reply.Unanswered = time.Now().Add(time.Second)
	return reply, err
}

func (n *resent) Release(ctx context.Context, r lease.ReleaseRequest) (lease.ReleaseReply, error) {
	time.Sleep(50 * time.Millisecond)
	return n.Store.Release(ctx, r)
}

// owners counts those that the Store knows.
func (b *bench) owners() int {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	return len(b.s.owners)
}

// It has no Release: the owner that is refused does not come back. Nor does it wait for what
// is given back.
func TestRefusalOfATwinIsCleanedUpIfTheOwnerDoesNotWait(t *testing.T) {
	for name, slow := range map[string]int{"answered first": 0, "answered last": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				far := &resent{guardtest.NewStore()}
				b := &bench{T: t, nodes: []*guardtest.Store{guardtest.NewStore(), guardtest.NewStore(), far.Store}}
				b.s = mustNew(t, b.nodes[0], b.nodes[1], far)
				for i, node := range b.nodes {
					node.HoldFor(key, "x", 200*time.Millisecond)
					if i == slow {
						node.Delay(20 * time.Millisecond)
					}
				}
				r := request(b.s.NewOwner(""))
				r.Join = false
				refused := func() {
					t.Helper()
					a := timeout(time.Second)
					defer a.End()
					if reply, err := b.s.Acquire(a, r); err != nil || reply.Granted {
						t.Fatalf("Acquire() = %+v, %v", reply, err)
					}
				}
				began := time.Now()
				refused()
				if d := time.Since(began); d > 40*time.Millisecond {
					t.Errorf("refused after %v, with a release of 50 ms under way", d)
				}
				time.Sleep(30*time.Millisecond - time.Since(began)) // far has answered
				asked := far.Calls(guardtest.OpAcquire)
				refused()
				if n := far.Calls(guardtest.OpAcquire); n != asked {
					t.Error("asked while a release for the owner was under way")
				}
				time.Sleep(700 * time.Millisecond)
				if b.holders(r.Owner) != 1 {
					t.Fatal("the test did not stage the late arrival")
				}
				time.Sleep(400 * time.Millisecond) // until it can have no effect
				if n := b.holders(r.Owner); n != 0 {
					t.Errorf("%d nodes have the lease", n)
				}
				time.Sleep(3 * ttl)
				if n := b.owners(); n != 0 {
					t.Errorf("%d owners are known", n)
				}
			})
		})
	}
}

func TestARefusedOwnerIsForgottenWhenTheLastNodeHasAnswered(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		for _, node := range b.nodes {
			node.HoldFor(key, "x", ttl)
		}
		b.nodes[2].Delay(300 * time.Millisecond)
		r := request(b.s.NewOwner(""))
		r.Join = false
		a := timeout(time.Second)
		defer a.End()
		if reply, err := b.s.Acquire(a, r); err != nil || reply.Granted {
			t.Fatalf("Acquire() = %+v, %v", reply, err)
		}
		if n := b.owners(); n != 1 {
			t.Fatalf("%d owners while a node has not answered, want 1", n)
		}
		time.Sleep(time.Second)
		if n := b.owners(); n != 0 {
			t.Errorf("%d owners", n)
		}
	})
}

// named is a node that keeps the ids that it was asked with, and never answers.
type named struct {
	*guardtest.Store
	ids []string
}

func (n *named) Acquire(_ context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	n.ids = append(n.ids, r.Owner)
	return lease.AcquireReply{}, errDown
}

// The release that cleans up after the first attempt may still be on its way when the owner
// comes back.
func TestARefusedOwnerThatComesBackUsesNoIDAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &named{Store: guardtest.NewStore()}
		b := &bench{T: t, nodes: []*guardtest.Store{guardtest.NewStore(), guardtest.NewStore(), far.Store}}
		b.s = mustNew(t, b.nodes[0], b.nodes[1], far)
		b.nodes[0].HoldFor(key, "x", ttl)
		b.nodes[1].HoldFor(key, "x", ttl)
		r := request(b.s.NewOwner(""))
		r.Join = false
		for len(far.ids) < 2 { // a node that failed is left out for a while
			a := timeout(time.Second)
			if reply, err := b.s.Acquire(a, r); err != nil || reply.Granted {
				t.Fatalf("Acquire() = %+v, %v", reply, err)
			}
			a.End()
			time.Sleep(time.Second / 2)
		}
		if far.ids[0] == far.ids[1] {
			t.Errorf("asked with %q twice", far.ids[0])
		}
		time.Sleep(3 * ttl)
		if n := b.owners(); n != 0 {
			t.Errorf("%d owners are known", n)
		}
	})
}
