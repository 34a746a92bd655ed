package quorum

import (
	"context"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// voter is a node that says yes or no after a while.
type voter struct {
	*guardtest.Store
	yes   bool
	after time.Duration
}

func (v voter) ClaimTick(context.Context, lease.TickRequest) (lease.TickReply, error) {
	time.Sleep(v.after)
	return lease.TickReply{Claimed: v.yes}, nil
}

func (v voter) EndTick(context.Context, lease.TickEnd) (bool, error) {
	time.Sleep(v.after)
	return v.yes, nil
}

func (v voter) Replace(context.Context, lease.ReplaceRequest) (lease.ReplaceReply, error) {
	time.Sleep(v.after)
	return lease.ReplaceReply{Superseded: v.yes}, nil
}

// A majority may have answered without having decided: a node that has not heard yet of
// what a majority has granted says no. Then the answer of a slow one is waited for.
func TestSlowNodeDecidesAVoteThatIsSplit(t *testing.T) {
	const soon, late = time.Millisecond, 300 * time.Millisecond
	for _, c := range []struct {
		name  string
		nodes []voter
		want  bool
		took  time.Duration
	}{
		{"yes", []voter{{yes: true, after: soon}, {after: soon}, {yes: true, after: late}}, true, late},
		{"no", []voter{{yes: true, after: soon}, {after: soon}, {after: late}}, false, late},
		{"yes, decided without it", []voter{{yes: true, after: soon}, {yes: true, after: soon}, {after: late}}, true, soon * 3 / 2},
		{"no, decided without it", []voter{{after: soon}, {after: soon}, {yes: true, after: late}}, false, soon * 3 / 2},
	} {
		for op, ask := range map[string]func(context.Context, *Store) (bool, error){
			"ClaimTick": func(ctx context.Context, s *Store) (bool, error) {
				reply, err := s.ClaimTick(ctx, lease.TickRequest{Key: key, Owner: "o", At: time.Now(), Fence: 1})
				return reply.Claimed, err
			},
			"EndTick": func(ctx context.Context, s *Store) (bool, error) {
				return s.EndTick(ctx, lease.TickEnd{Key: key, Owner: "o", At: time.Now()})
			},
			"Replace": func(ctx context.Context, s *Store) (bool, error) {
				reply, err := s.Replace(ctx, lease.ReplaceRequest{Key: key, Owner: s.NewOwner("")})
				return reply.Superseded, err
			},
		} {
			t.Run(c.name+"/"+op, func(t *testing.T) {
				bubble(t, 3, func(t *testing.T, _ *bench) {
					stores := make([]lease.Store, len(c.nodes))
					for i, n := range c.nodes {
						n.Store = guardtest.NewStore()
						stores[i] = n
					}
					s, began := mustNew(t, stores...), time.Now()
					if got, err := ask(t.Context(), s); err != nil || got != c.want {
						t.Errorf("%t, %v; want %t", got, err, c.want)
					}
					if took := time.Since(began); took != c.took {
						t.Errorf("took %v, want %v", took, c.took)
					}
				})
			})
		}
	}
}
