package guard_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestRunThatBeginsAfterShutdownsPatienceIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guardtest.NewStore())
		err := g.Do(context.Background(), "k", func(ctx context.Context) error {
			down, cancel := context.WithCancel(context.Background())
			cancel()
			go func() { _ = g.Shutdown(down) }()
			<-ctx.Done()
			return g.Do(context.WithoutCancel(ctx), "k", func(ctx context.Context) error {
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
					t.Error("a nested run goes on beside the shutdown")
				}
				return context.Cause(ctx)
			})
		})
		if !errors.Is(err, guard.ErrClosed) {
			t.Errorf("Do() = %v, want ErrClosed", err)
		}
		synctest.Wait()
	})
}

func TestShutdownWaitsForCleanUps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		store.Inject(guardtest.Fault{Op: guardtest.OpRelease, Err: errors.New("LOADING"), Times: 5})
		if err := g.Do(t.Context(), "k", nothing); err != nil {
			t.Fatal(err)
		}
		if err := g.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		if keys := store.Keys(); len(keys) > 0 {
			t.Errorf("%q are left", keys)
		}
	})
}
