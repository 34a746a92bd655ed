package quorum_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func latestWins(t *testing.T, a, b *guard.Guard) {
	old := run(t, a, "replace", untilDone)
	must(t, b.With(guard.Replace(), guard.Wait(20*time.Second)).Do(t.Context(), "replace", nothing))
	if err := outcome(t, old); !errors.Is(err, guard.ErrReplaced) {
		t.Errorf("the holder got %v", err)
	}
}

// An order at one node reaches the holder, and its lease goes on until fn has returned.
func TestRevokeOnOneServerEndsTheContext(t *testing.T) {
	f := newFleet(t, 3)
	a, b := f.guard(t), f.guard(t)
	result := run(t, a, "k", func(ctx context.Context) error {
		<-ctx.Done()
		wantBusy(t, b, "k") // while fn cleans up
		return nil
	})
	everywhere(t, f.servers, "k")
	must(t, redisstore.New(f.servers[1].Client(t)).Revoke(t.Context(), "k", "test"))
	if err := outcome(t, result); !errors.Is(err, guard.ErrRevoked) {
		t.Errorf("the holder got %v", err)
	}
}

// slowFirst is a store whose first Replace is answered too late to be counted.
type slowFirst struct {
	*guardtest.Store
	asked atomic.Int32
}

func (s *slowFirst) Replace(ctx context.Context, r lease.ReplaceRequest) (lease.ReplaceReply, error) {
	reply, err := s.Store.Replace(ctx, r)
	if s.asked.Add(1) == 1 {
		<-ctx.Done()
		return lease.ReplaceReply{}, ctx.Err()
	}
	return reply, err
}

// Its turn there is later than those of the nodes that were counted.
func TestATurnThatWasNotCountedSupersedesNobody(t *testing.T) {
	slow := &slowFirst{Store: guardtest.NewStore()}
	for range 5 { // turns of others before
		_, err := slow.Store.Replace(t.Context(), lease.ReplaceRequest{Key: "k", Owner: "other"})
		must(t, err)
	}
	s, err := quorum.New(guardtest.NewStore(), guardtest.NewStore(), slow)
	must(t, err)
	ask := func(owner string, turn int64) lease.ReplaceReply {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		reply, err := s.Replace(ctx, lease.ReplaceRequest{Key: "k", Owner: owner, Turn: turn})
		must(t, err)
		return reply
	}
	first := s.NewOwner("")
	one := ask(first, 0)
	if again := ask(first, one.Turn); again.Superseded || again.Turn != one.Turn {
		t.Errorf("%+v after %+v", again, one)
	}
	second := s.NewOwner("")
	two := ask(second, 0)
	if two.Superseded || !ask(first, one.Turn).Superseded || ask(second, two.Turn).Superseded {
		t.Errorf("%+v after %+v: the latest does not stay", two, one)
	}
}
