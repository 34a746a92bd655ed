package quorum

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// A node that granted the key to a loser does not answer when it is given back.
func TestAcquireEndsWithItsContextThoughItsCleanUpGoesOn(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		owner, began := b.s.NewOwner(""), time.Now()
		b.split(owner)
		b.nodes[2].Inject(guardtest.Fault{Op: guardtest.OpRelease, Times: 1})
		if reply, err := b.acquire(b.s, owner); err != nil || reply.Granted {
			t.Errorf("Acquire() = %+v, %v", reply, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("Acquire took %v, its context %v", took, time.Second)
		}
		time.Sleep(ttl / 2)
		if n := b.holders(owner); n != 0 {
			t.Errorf("%d nodes are kept by the loser", n)
		}
	})
}

// The Acquire before it was cancelled, and the nodes have not answered it yet.
func TestReleaseEndsWithItsContextThoughAnAcquireIsUnderWay(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		for _, n := range b.nodes {
			n.Inject(guardtest.Fault{Op: guardtest.OpAcquire, Lost: true, Times: 1})
		}
		owner := b.s.NewOwner("")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		a := lease.NewPatientAttempt(ctx, time.Minute)
		defer a.End()
		if reply, err := b.s.Acquire(a, request(owner)); err == nil {
			t.Errorf("Acquire() = %+v", reply)
		}
		began := time.Now()
		if reply, err := b.release(owner); err == nil {
			t.Errorf("Release() = %+v, want an error: nothing is known", reply)
		}
		if took := time.Since(began); took > time.Second+lateAnswer {
			t.Errorf("Release took %v, its context %v", took, time.Second)
		}
		time.Sleep(ttl / 2)
		if n := b.holders(owner); n != 0 {
			t.Errorf("%d nodes have the lease", n)
		}
	})
}

// A token has to be written back, and the third node is slow.
func TestASlowNodeDelaysNoWriteBack(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		b.putAhead(0, time.Now().Add(time.Hour).UnixMicro())
		for i, d := range []time.Duration{10 * time.Millisecond, 10 * time.Millisecond, time.Second} {
			b.nodes[i].Delay(d)
		}
		began := time.Now()
		b.mustAcquire(b.s)
		if took := time.Since(began); took != 25*time.Millisecond {
			t.Errorf("Acquire took %v, want two round trips of 10 ms and half of one", took)
		}
	})
}

// distant is a node that gets an Acquire three seconds later. Like a server it refuses one that is
// patient and late.
type distant struct {
	*guardtest.Store
	far bool
}

func (n *distant) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	if !n.far {
		return n.Store.Acquire(ctx, r)
	}
	deadline, _ := ctx.Deadline()
	time.AfterFunc(3*time.Second, func() {
		if patienceOf(ctx) == 0 || time.Now().Before(deadline) {
			_, _ = n.Store.Acquire(context.Background(), r)
		}
	})
	<-ctx.Done()
	return lease.AcquireReply{}, ctx.Err()
}

func TestARepairThatArrivesLateHasNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &distant{Store: guardtest.NewStore()}
		b := &bench{T: t, nodes: []*guardtest.Store{guardtest.NewStore(), guardtest.NewStore(), n.Store}}
		b.s = mustNew(t, b.nodes[0], b.nodes[1], n)
		owner, _ := b.mustAcquire(b.s)
		n.Expire(key)
		n.far = true
		if reply := b.renew(owner); !reply.Held {
			t.Fatalf("Renew() = %+v", reply)
		}
		synctest.Wait() // the repair is under way
		if _, err := b.release(owner); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		if b.holders(owner) != 0 {
			t.Error("the node has a lease that was released")
		}
		time.Sleep(3 * ttl)
	})
}

// alias is another store over the same data.
type alias struct{ *guardtest.Store }

func (a alias) NewOwner(metadata string) string {
	return lease.OwnerID("alias", 1, "guardtest", metadata)
}

func TestStoresThatShareAServerAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, nodes: []*guardtest.Store{guardtest.NewStore(), guardtest.NewStore()}}
		b.s = mustNew(t, b.nodes[0], b.nodes[1], alias{b.nodes[0]})
		owner := b.s.NewOwner("")
		reply, err := b.acquire(b.s, owner)
		if !errors.Is(err, lease.ErrRefused) || !strings.Contains(err.Error(), "stores 1 and 3 are one server") {
			t.Errorf("Acquire() = %+v, %v; want refused", reply, err)
		}
		if n := b.holders(owner); n != 0 {
			t.Errorf("%d nodes have the lease", n)
		}
		time.Sleep(3 * ttl)
	})
}

// Two of three nodes refuse for good, the third has put the owner into its queue.
func TestARefusedOwnerStandsInNoQueue(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		for _, n := range b.nodes[:2] {
			n.Fail(lease.ErrRefused)
		}
		b.nodes[2].HoldFor(key, "x", ttl)
		if reply, err := b.acquire(b.s, b.s.NewOwner("")); !errors.Is(err, lease.ErrRefused) {
			t.Errorf("Acquire() = %+v, %v; want refused", reply, err)
		}
		b.nodes[2].Expire(key)
		if reply, err := b.nodes[2].Acquire(t.Context(), request(b.nodes[2].NewOwner(""))); err != nil || !reply.Granted {
			t.Errorf("Acquire() by another = %+v, %v; want granted", reply, err)
		}
	})
}
