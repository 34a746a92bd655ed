package quorum_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func latestWins(t *testing.T, a, b *guard.Guard) {
	running, old := make(chan struct{}), make(chan error, 1)
	go func() {
		old <- a.Do(t.Context(), "replace", func(ctx context.Context) error {
			close(running)
			<-ctx.Done()
			return nil
		})
	}()
	<-running
	must(t, b.With(guard.Replace(), guard.Wait(20*time.Second)).Do(t.Context(), "replace", nothing))
	if err := <-old; !errors.Is(err, guard.ErrReplaced) {
		t.Errorf("the holder got %v", err)
	}
}

// An order at one node reaches the holder, and its lease goes on until fn has returned.
func TestRevokeOnOneServerEndsTheContext(t *testing.T) {
	f := newFleet(t, 3)
	a, b := f.guard(t), f.guard(t)
	running, result := make(chan struct{}), make(chan error, 1)
	go func() {
		result <- a.Do(t.Context(), "k", func(ctx context.Context) error {
			close(running)
			<-ctx.Done()
			err := b.With(guard.Wait(0)).Do(context.WithoutCancel(ctx), "k", nothing)
			if !errors.Is(err, guard.ErrBusy) {
				t.Errorf("another run while fn cleans up: %v", err)
			}
			return nil
		})
	}()
	<-running
	must(t, redisstore.New(f.servers[1].Client(t)).Revoke(t.Context(), "k", "test"))
	if err := <-result; !errors.Is(err, guard.ErrRevoked) {
		t.Errorf("the holder got %v", err)
	}
}
