package guard_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestRunThatBeginsAfterShutdownsPatienceIsCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		err := g.Do(context.Background(), "k", func(ctx context.Context) error {
			down, cancel := context.WithCancel(context.Background())
			cancel()
			go func() { _ = g.Shutdown(down) }()
			<-ctx.Done()
			return g.Do(context.WithoutCancel(ctx), "k", func(ctx context.Context) error {
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
					t.Error("a nested run goes on during the shutdown")
				}
				return context.Cause(ctx)
			})
		})
		wantError(t, err, guard.ErrClosed)
		synctest.Wait()
	})
}

func TestShutdownWaitsForCleanUps(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Inject(guardtest.Fault{Op: guardtest.OpRelease, Err: errors.New("LOADING"), Times: 5})
		must(t, g.Do(t.Context(), "k", nothing))
		noError(t, g.Shutdown(t.Context()))
		noneLeft(t, store)
	})
}

func TestShutdownWithOnlyWaitersSucceeds(t *testing.T) {
	for range 20 { // the waiters' leaving and the look at the context race
		synctest.Test(t, func(t *testing.T) {
			store := guardtest.NewStore()
			store.Hold("k", "ops")
			g := newGuard(t, store)
			waiters := make(chan error, 3)
			for range cap(waiters) {
				go func() { waiters <- g.Do(context.Background(), "k", nothing) }()
			}
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := g.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown() = %v: no run had to be cancelled", err)
			}
			for range cap(waiters) {
				wantError(t, <-waiters, guard.ErrClosed)
			}
			if n := guard.Left(g); n != 0 || store.Waiting("k") != 0 {
				t.Errorf("%d entries and %d waiters are left", n, store.Waiting("k"))
			}
		})
	}
}

func TestShutdownWaitsForRunsAndRefusesNewOnes(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		family := g.With(guard.TTL(time.Minute))
		end, ran := hold(t, family, "k")
		waiter := make(chan error, 1)
		go func() { waiter <- g.Do(context.Background(), "k", nothing) }()
		synctest.Wait()

		down := make(chan error, 1)
		go func() { down <- g.Shutdown(context.Background()) }()
		synctest.Wait()
		wantError(t, <-waiter, guard.ErrClosed)
		wantError(t, family.Do(t.Context(), "other", nothing), guard.ErrClosed)
		select {
		case err := <-down:
			t.Fatalf("Shutdown() = %v while a run is under way", err)
		default:
		}
		time.Sleep(time.Hour)
		if _, held := store.Holder("k"); !held {
			t.Error("a run under way is not renewed during Shutdown")
		}
		end()
		noError(t, <-ran)
		noError(t, <-down)
		noError(t, g.Shutdown(t.Context())) // once more
		noneLeft(t, store)
	})
}

func TestShutdownAllowsNestedRunsOfTheSameLease(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
			go func() { _ = g.Shutdown(context.Background()) }()
			synctest.Wait()
			wantError(t, g.Do(ctx, "other", nothing), guard.ErrClosed)
			return g.Do(ctx, "k", nothing)
		}))
		synctest.Wait()
	})
}

func TestShutdownCancelsRunsWhenItsContextEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		ran := make(chan error, 1)
		go func() {
			ran <- g.Do(context.Background(), "k", func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(3 * time.Second) // within a TTL
				return context.Cause(ctx)
			})
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err := g.Shutdown(ctx)
		wantError(t, err, context.DeadlineExceeded)
		if d := time.Since(start); d != 63*time.Second {
			t.Errorf("Shutdown took %v, want a minute and the run's 3s", d)
		}
		wantError(t, <-ran, guard.ErrClosed)
	})
}

func TestShutdownWaitsAtMostATTLForARunThatIgnoresIt(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		end, ran := hold(t, g, "k")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		if err := g.Shutdown(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), `not returned: 1 ("k")`) {
			t.Errorf("Shutdown() = %v, want it to name the run that has not returned", err)
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("Shutdown took %v, want a TTL", d)
		}
		time.Sleep(time.Hour)
		if _, held := store.Holder("k"); !held {
			t.Error("the stubborn run's key is free")
		}
		end()
		noError(t, <-ran)
	})
}

func TestAContextThatIsKeptKeepsNoOtherRun(t *testing.T) {
	g := newGuard(t, guardtest.NewStore())
	begin := func(key string, seen func(context.Context)) (end func()) {
		inside, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
		go func() {
			done <- g.Do(context.Background(), key, func(ctx context.Context) error {
				seen(ctx)
				close(inside)
				<-release
				return nil
			})
		}()
		<-inside
		return func() {
			close(release)
			noError(t, <-done)
		}
	}
	var kept context.Context
	collected := make(chan struct{})
	endFirst := begin("first", func(ctx context.Context) { kept = ctx }) //nolint:fatcontext // to keep it is the point
	endSecond := begin("second", func(ctx context.Context) {
		runtime.SetFinalizer(ctx, func(context.Context) { close(collected) })
	})
	endFirst()
	endSecond()
	deadline := time.After(5 * time.Second)
	for {
		runtime.GC()
		select {
		case <-collected:
			runtime.KeepAlive(kept)
			return
		case <-deadline:
			t.Fatal("the second run is kept with the first one's context")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
