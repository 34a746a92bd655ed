package quorum

import (
	"errors"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

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

// A claim that broke off has reached one node. Another owner has claimed the tick at the two
// others, one of which forgets it.
func TestATickIsNotClaimedByTheOwnerOfABrokenOffClaimToo(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		first := lease.TickRequest{Key: "job", Owner: b.s.NewOwner(""), At: time.Now(), MaxAhead: -1}
		if reply, err := b.nodes[0].ClaimTick(t.Context(), first); err != nil || !reply.Claimed {
			t.Fatalf("ClaimTick() = %+v, %v", reply, err)
		}
		b.nodes[0].Fail(errDown)
		second := first
		second.Owner = b.s.NewOwner("")
		if reply, err := b.s.ClaimTick(t.Context(), second); err != nil || !reply.Claimed {
			t.Fatalf("ClaimTick() = %+v, %v", reply, err)
		}
		b.nodes[0].Fail(nil)
		if reply, err := b.s.ClaimTick(t.Context(), second); err != nil || !reply.Claimed {
			t.Errorf("the same owner asks again: ClaimTick() = %+v, %v", reply, err)
		}
		b.nodes[1] = guardtest.NewStore() // it restarts empty
		if reply, err := b.other().ClaimTick(t.Context(), first); err != nil || reply.Claimed || reply.Last.Owner != second.Owner {
			t.Errorf("ClaimTick() = %+v, %v; want refused by the second", reply, err)
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

// A node misses the end of a run that was broken off, another all claims but the last: the
// next run is counted as the majority does.
func TestRunsAreCountedAlikeOnAllNodes(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		var r lease.TickRequest
		claim := func() {
			r = lease.TickRequest{Key: "job", Owner: b.s.NewOwner(""), At: time.Now(), MaxAhead: -1, Rerun: true, Fence: r.Fence + 1}
			if reply, err := b.s.ClaimTick(t.Context(), r); err != nil || !reply.Claimed {
				t.Fatalf("ClaimTick() = %+v, %v", reply, err)
			}
		}
		want := func(attempts int) {
			t.Helper()
			for down := range b.nodes { // whichever are asked
				b.nodes[down].Fail(errDown)
				if last, err := b.s.LastTick(t.Context(), "job"); err != nil || last.Attempts != attempts {
					t.Errorf("without node %d LastTick() = %+v, %v; want %d attempts", down+1, last, err, attempts)
				}
				b.nodes[down].Fail(nil)
			}
		}
		claim()
		b.nodes[0].Fail(errDown)
		claim()
		claim()
		b.nodes[0].Fail(nil)
		claim()
		want(4)
		b.nodes[1].Fail(errDown)
		if ended, err := b.s.EndTick(t.Context(), lease.TickEnd{Key: "job", Owner: r.Owner, At: r.At, Again: true}); err != nil || !ended {
			t.Errorf("EndTick() = %t, %v", ended, err)
		}
		b.nodes[1].Fail(nil)
		want(3)
		claim()
		want(4)
	})
}

// Claims of processes that do not tell the count, as older versions do not: the node that missed
// most of them is not believed.
func TestTheNodeThatKnowsMostClaimsOfATickIsBelieved(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *bench) {
		r := lease.TickRequest{Key: "job", At: time.Now(), MaxAhead: -1, Rerun: true}
		for r.Fence = 1; r.Fence < 9; r.Fence++ {
			r.Owner = b.s.NewOwner("")
			for i, n := range b.nodes {
				if i == 0 && r.Fence < 8 {
					continue
				}
				if reply, err := n.ClaimTick(t.Context(), r); err != nil || !reply.Claimed {
					t.Fatalf("ClaimTick() = %+v, %v", reply, err)
				}
			}
		}
		if last, err := b.s.LastTick(t.Context(), "job"); err != nil || last.Attempts != 8 {
			t.Errorf("LastTick() = %+v, %v; want 8 attempts", last, err)
		}
		r.Owner = b.s.NewOwner("")
		if reply, err := b.s.ClaimTick(t.Context(), r); err != nil || !reply.Claimed {
			t.Fatalf("ClaimTick() = %+v, %v", reply, err)
		}
		for i, n := range b.nodes {
			if last, err := n.LastTick(t.Context(), "job"); err != nil || last.Attempts != 9 {
				t.Errorf("node %d: LastTick() = %+v, %v; want 9 attempts", i+1, last, err)
			}
		}
	})
}
