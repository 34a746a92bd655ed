package databases

import (
	"context"
	"sync"
	"testing"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// chosen is a store that grants the tokens it is told to.
type chosen struct {
	*guardtest.Store
	mu    sync.Mutex
	token int64
}

func (s *chosen) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	reply, err := s.Store.Acquire(ctx, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if reply.Fence != 0 {
		reply.Fence = s.token
	}
	return reply, err
}

// withToken runs fn under a key of its own, with a token of the caller's choice.
func withToken(ctx context.Context, t testing.TB, token int64, fn func(context.Context) error) error {
	t.Helper()
	store := &chosen{Store: guardtest.NewStore(), token: token}
	g, err := guard.New(store)
	must(t, err)
	return g.Do(ctx, "key", func(ctx context.Context) error {
		if got, ok := guard.Fence(ctx); !ok || got != token {
			t.Errorf("the run has token %d, want %d", got, token)
		}
		return fn(ctx)
	})
}
