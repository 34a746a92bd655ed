package guard_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestRedisAcquireThatArrivesAfterItsCleanUpIsRefused(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	g, other := onRedis(t, p.Addr()), onRedis(t, s.Addr())
	for range 3 {
		if err := g.Do(t.Context(), "k", nothing); err != nil {
			t.Fatal(err)
		}
		request := p.HoldNextRequest("fence:")
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
		err := g.Do(ctx, "k", nothing)
		cancel()
		// nil: the end of the context came late, and there was time for a second attempt.
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do() = %v, want the end of its context", err)
		}
		request.Wait(t)
		time.Sleep(2200 * time.Millisecond) // an attempt takes 2 s at most: both clean-ups are over
		request.Release()
		time.Sleep(50 * time.Millisecond) // it has arrived
		if err := other.With(guard.Wait(0)).Do(t.Context(), "k", nothing); err != nil {
			t.Errorf("Do() = %v: a zombie holds the key", err)
		}
	}
}
