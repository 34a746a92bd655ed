package quorum_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// run has g run fn under key, and returns when it runs.
func run(t *testing.T, g *guard.Guard, key string, fn func(context.Context) error, opts ...guard.Option) <-chan error {
	t.Helper()
	running, result := make(chan struct{}), make(chan error, 1)
	go func() {
		result <- g.With(opts...).Do(t.Context(), key, func(ctx context.Context) error {
			close(running)
			return fn(ctx)
		})
	}()
	select {
	case <-running:
	case err := <-result:
		t.Fatalf("Do() = %v before it ran", err)
	case <-time.After(waitLimit):
		t.Fatalf("it does not run within %v", waitLimit)
	}
	return result
}

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// What each server has, and whether they agree; which leases are one, two processes of one name
// told apart.
func TestInspectTellsWhatEachServerHasAndWhetherTheyAgree(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	op := f.store(t)
	ctx := t.Context()
	// A key is held once a majority has granted it, and the request to the last server may
	// still be under way.
	look := func(agreed bool, agree int, mode lease.Mode) (n quorum.Nodes) {
		t.Helper()
		for deadline := time.Now().Add(waitLimit); ; time.Sleep(10 * time.Millisecond) {
			var err error
			n, err = op.InspectNodes(ctx, "k")
			must(t, err)
			if n.Agreed() == agreed && n.Agree == agree && (!agreed || n.Verdict.Mode == mode) && len(n.Nodes) == 3 && n.Key == "k" {
				return n
			}
			if time.Now().After(deadline) {
				t.Fatalf("agreed %v, %d say %s, want %v, %d, %s\n%+v", n.Agreed(), n.Agree, n.Verdict.Mode, agreed, agree, mode, n)
			}
		}
	}
	look(true, 3, lease.ModeFree)
	reader := run(t, f.guard(t), "k", untilDone, guard.Shared())
	look(true, 3, lease.ModeShared)
	must(t, op.Revoke(ctx, "k", ""))
	if err := outcome(t, reader); !errors.Is(err, guard.ErrRevoked) {
		t.Errorf("the reader got %v", err)
	}

	g := f.guard(t)
	result := run(t, g, "k", untilDone)
	n := look(true, 3, lease.ModeExclusive)
	if h, err := g.Holder(ctx, "k"); err != nil || h.ID != n.Verdict.Holders[0].ID || h.Process != n.Verdict.Holders[0].Process || h.Process != n.Nodes[2].Holders[0].Process {
		t.Errorf("Holder() = %+v, %v, InspectNodes() = %+v", h, err, n)
	}
	if left := n.Verdict.Holders[0].Remaining; left <= 0 || left > 10*time.Second || n.Verdict.LastToken == 0 {
		t.Errorf("%+v", n.Verdict)
	}
	must(t, f.servers[1].Client(t).Set(ctx, "guard:k", "cron@host", 0).Err())
	n = look(true, 2, lease.ModeExclusive)
	if n.Nodes[1].Mode != lease.ModeForeign {
		t.Errorf("node 2 has %+v", n.Nodes[1])
	}
	f.servers[0].Kill()
	n = look(false, 1, "")
	if n.Nodes[0].Err == nil || n.Nodes[2].Err != nil {
		t.Errorf("%+v", n)
	}
	if _, err := op.Inspect(ctx, "k"); !errors.Is(err, quorum.ErrDisagree) || !strings.Contains(err.Error(), "node 2: foreign cron@host") {
		t.Errorf("Inspect() = %v", err)
	}
	if err := outcome(t, result); !errors.Is(err, guard.ErrLost) {
		t.Errorf("the holder got %v", err)
	}

	// Two processes of one name have a server each.
	for i, s := range f.servers[1:] {
		owner := redisstore.New(s.Client(t), redisstore.Owner("web")).NewOwner("")
		must(t, f.servers[1+i].Client(t).Set(ctx, "guard:k", owner, time.Hour).Err())
	}
	look(false, 1, "")
}

// With one server down, too.
func TestRevokeOfAQuorumEndsTheContextAndKeepsTheLease(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	op := f.store(t)
	f.servers[2].Kill()
	stopped := make(chan error, 1)
	end := make(chan struct{})
	result := run(t, f.guard(t), "k", func(ctx context.Context) error {
		<-ctx.Done()
		stopped <- context.Cause(ctx)
		<-end
		return nil
	})
	must(t, op.Revoke(t.Context(), "k", "test"))
	select {
	case err := <-stopped:
		if !errors.Is(err, guard.ErrRevoked) {
			t.Errorf("the cause is %v", err)
		}
	case <-time.After(waitLimit):
		t.Fatal("the context goes on")
	}
	if i, err := op.Inspect(t.Context(), "k"); err != nil || i.Mode != lease.ModeExclusive {
		t.Errorf("while fn cleans up the key is %+v, %v", i, err)
	}
	close(end)
	if err := outcome(t, result); !errors.Is(err, guard.ErrRevoked) {
		t.Errorf("the holder got %v", err)
	}
	must(t, op.Revoke(t.Context(), "k", "of a free key"))
	f.servers[1].Kill()
	if err := op.Revoke(t.Context(), "k", ""); err == nil || !strings.Contains(err.Error(), "1 of 3 nodes answered") {
		t.Errorf("Revoke() = %v with one server of three", err)
	}
}

func TestRevokeOfAQuorumSaysThatTheHolderDidNotAnswer(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	deaf, op := f.store(t), f.store(t)
	r, err := deaf.Acquire(t.Context(), lease.AcquireRequest{Key: "k", Owner: deaf.NewOwner(""), TTL: time.Hour, TokenCount: 1})
	if err != nil || !r.Granted {
		t.Fatalf("%+v, %v", r, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := op.Revoke(ctx, "k", ""); !errors.Is(err, redisstore.ErrNoAnswer) {
		t.Errorf("Revoke() = %v", err)
	}
	must(t, op.Break(t.Context(), "k"))
	next := f.store(t)
	after, err := next.Acquire(t.Context(), lease.AcquireRequest{Key: "k", Owner: next.NewOwner(""), TTL: time.Minute, TokenCount: 1})
	if err != nil || !after.Granted || after.Fence <= r.Fence {
		t.Errorf("after Break: %+v, %v; before it token %d", after, err, r.Fence)
	}
}

func TestOrdersWantStoresThatTakeThem(t *testing.T) {
	s, err := quorum.New(guardtest.NewStore(), guardtest.NewStore(), guardtest.NewStore())
	must(t, err)
	_, inspect := s.Inspect(t.Context(), "k")
	for _, err := range []error{inspect, s.Revoke(t.Context(), "k", ""), s.Break(t.Context(), "k")} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := newFleet(t, 3)
	if _, err := f.store(t).InspectNodes(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("InspectNodes() = %v after its context has ended", err)
	}
}

// Each node knows the holder by an id of its own; an order for another holder touches none.
func TestOrdersToAHolderOfAQuorumReachNoOther(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	op := f.store(t)
	result := run(t, f.guard(t), "k", untilDone)
	everywhere(t, f.servers, "k")
	i, err := op.Inspect(t.Context(), "k")
	must(t, err)
	h := i.Holders[0]
	for _, name := range []string{h.ShortID() + "0", "nobody"} {
		_, revoked := op.RevokeHolder(t.Context(), lease.Order{Key: "k", Holder: name})
		_, broken := op.BreakHolder(t.Context(), lease.Order{Key: "k", Holder: name})
		if !errors.Is(revoked, lease.ErrOtherHolder) || !errors.Is(broken, lease.ErrOtherHolder) {
			t.Errorf("for %q: %v, %v", name, revoked, broken)
		}
	}
	if i, err = op.Inspect(t.Context(), "k"); err != nil || i.Mode != lease.ModeExclusive || i.Holders[0].ID != h.ID || len(result) > 0 {
		t.Fatalf("the key is %+v, %v", i, err)
	}
	f.servers[2].Kill() // a majority is enough
	got, err := op.RevokeHolder(t.Context(), lease.Order{Key: "k", Holder: h.ShortID(), Reason: "test"})
	if err != nil || len(got.Told) != 1 || got.Told[0].ID != h.ID || got.Silent != nil {
		t.Fatalf("RevokeHolder() = %+v, %v", got, err)
	}
	if err := outcome(t, result); !errors.Is(err, guard.ErrRevoked) {
		t.Errorf("the holder got %v", err)
	}
	if got, err = op.BreakHolder(t.Context(), lease.Order{Key: "k", Holder: h.ID}); err != nil || got.Told != nil || got.Silent != nil {
		t.Errorf("BreakHolder() of a free key = %+v, %v", got, err)
	}
}

// A holder that one node has told lets go at once: the other nodes may find nobody before that
// node has its answer.
func TestHolderThatHasLeftTheOtherNodesWasTold(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	client := f.servers[0].Client(t)
	node := redisstore.New(client)
	must(t, client.Set(t.Context(), "guard:k", node.NewOwner(""), time.Minute).Err())
	asked := time.Now()
	defer node.Listen(func(lease.Stop) bool { return time.Since(asked) > 300*time.Millisecond })()
	got, err := f.store(t).RevokeHolder(t.Context(), lease.Order{Key: "k", Reason: "test"})
	if err != nil || len(got.Told) != 1 {
		t.Errorf("RevokeHolder() = %+v, %v", got, err)
	}
}
