package redistest_test

import (
	"testing"

	"github.com/jobguard/jobguard/internal/redistest"
)

func TestReplicaHoldsWhatItsPrimaryHeld(t *testing.T) {
	primary := redistest.Start(t)
	if err := primary.Client(t).Set(within(t), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	replica := redistest.StartReplica(t, primary)
	if got := replica.Client(t).Get(within(t), "k").Val(); got != "v" {
		t.Errorf("replica holds %q", got)
	}
	if err := replica.Client(t).Set(within(t), "k", "w", 0).Err(); err == nil {
		t.Error("a replica took a write")
	}
}

func TestStaleReplicaBecomesAPrimary(t *testing.T) {
	primary := redistest.Start(t)
	line := redistest.NewProxy(t, primary.Addr())
	replica := redistest.StartReplicaOf(t, line.Addr())

	c := primary.Client(t)
	if err := c.Set(within(t), "k", "old", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n := c.Wait(within(t), 1, 0).Val(); n != 1 {
		t.Fatalf("WAIT = %d", n)
	}
	line.Blackhole(redistest.Both)
	if err := c.Set(within(t), "k", "new", 0).Err(); err != nil {
		t.Fatal(err)
	}
	replica.Promote(t)
	r := replica.Client(t)
	if got := r.Get(within(t), "k").Val(); got != "old" {
		t.Errorf("the replica was not stale: k = %q", got)
	}
	if err := r.Set(within(t), "k", "newer", 0).Err(); err != nil {
		t.Errorf("a promoted replica refuses writes: %v", err)
	}

	primary.Follow(t, replica)
	if got := primary.Client(t).Get(within(t), "k").Val(); got != "newer" {
		t.Errorf("the old primary follows, but holds %q", got)
	}
}

func TestRestartedReplicaIsEmptyUntilItFollowsAgain(t *testing.T) {
	primary := redistest.Start(t)
	if err := primary.Client(t).Set(within(t), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	replica := redistest.StartReplica(t, primary)
	primary.Kill()
	replica.Restart()
	if n := replica.Client(t).DBSize(within(t)).Val(); n != 0 {
		t.Errorf("%d keys left from an earlier run", n)
	}
}
