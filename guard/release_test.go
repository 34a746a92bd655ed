package guard_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// burying is a store that one request reaches late: its sender has an error
// by then, and the request is still in time for its deadline. The next ones find
// the connection refused.
type burying struct {
	*guardtest.Store
	nth     int           // which Acquire is buried, from 1
	late    time.Duration // how long it lies there
	refused int           // how many of those after it fail

	arrived chan error // its outcome, once it arrived

	mu    sync.Mutex
	calls int
}

func newBurying(nth int, late time.Duration, refused int) *burying {
	return &burying{Store: guardtest.NewStore(), nth: nth, late: late, refused: refused, arrived: make(chan error, 1)}
}

func (s *burying) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	s.mu.Lock()
	s.calls++
	n := s.calls
	s.mu.Unlock()
	switch {
	case n == s.nth:
		deadline, _ := ctx.Deadline()
		time.AfterFunc(s.late, func() {
			ctx, cancel := context.WithDeadline(context.Background(), deadline)
			defer cancel()
			reply, err := s.Store.Acquire(ctx, r)
			if err == nil && !reply.Granted {
				err = fmt.Errorf("refused: %+v", reply)
			}
			s.arrived <- err
		})
		return lease.AcquireReply{}, errors.New("connection reset by peer")
	case n > s.nth && n <= s.nth+s.refused:
		return lease.AcquireReply{}, errors.New("connection refused")
	}
	return s.Store.Acquire(ctx, r)
}

// buryBehindShorter leaves a store with a lease of 10 s that is of no use and
// not known. Its request, which was the second attempt, was welcome for 2 s from then
// on, and the one or two after it, which a caller has time for, for 4 and 8 s. Those of
// the next caller, with a TTL of 60 ms, were over much sooner.
func buryBehindShorter(t *testing.T) *burying {
	t.Helper()
	s := newBurying(2, time.Second, 1000)
	s.HoldFor("k", lease.OwnerID("ops", 1, "ops", ""), 100*time.Millisecond)
	g := newGuard(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Do(ctx, "k", nothing) })
	synctest.Wait()
	wg.Go(func() {
		err := g.With(guard.TTL(60*time.Millisecond)).Do(t.Context(), "k", nothing)
		wantError(t, err, guard.ErrUnavailable)
	})
	wg.Wait()
	if err := <-s.arrived; err != nil {
		t.Fatalf("the buried request came for nothing: %v", err)
	}
	if _, held := s.Holder("k"); !held || s.Remaining("k") != 10*time.Second {
		t.Fatalf("the buried request took the key: %v, for %v", held, s.Remaining("k"))
	}
	return s
}

func TestCleanUpWaitsForTheLatestOpenDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := buryBehindShorter(t)
		time.Sleep(7*time.Second + 200*time.Millisecond) // the first caller's last attempt, its third at most, had 8 s
		if owner, held := s.Holder("k"); held {
			t.Errorf("a zombie holds the key, %q, for %v more", owner, s.Remaining("k"))
		}
		time.Sleep(time.Minute)
	})
}

func TestCleanUpLastsAsLongAsABuriedLeaseCould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := buryBehindShorter(t)
		s.Inject(guardtest.Fault{Op: guardtest.OpRelease})
		time.Sleep(7 * time.Second)
		s.Fail(nil)
		time.Sleep(2 * time.Second) // an attempt under way, a pause, the next
		if owner, held := s.Holder("k"); held {
			t.Errorf("no cleaner is left, and a zombie holds the key, %q, for %v more", owner, s.Remaining("k"))
		}
		time.Sleep(time.Minute)
	})
}

func TestDoLeavesNothingBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		must(t, g.Do(t.Context(), "k", nothing))
		synctest.Wait()
		noneLeft(t, store)
	})
}

func TestPanicPassesThroughAndReleases(t *testing.T) {
	store := guardtest.NewStore()
	g := newGuard(t, store)
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("recovered %v, want the panic of fn", p)
			}
		}()
		_ = g.Do(t.Context(), "k", func(context.Context) error { panic("boom") })
	}()
	if _, held := store.Holder("k"); held {
		t.Error("still held after the panic")
	}
}

func TestGoexitReleases(t *testing.T) {
	store := guardtest.NewStore()
	g := newGuard(t, store)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Do(context.Background(), "k", func(context.Context) error {
			runtime.Goexit()
			return nil
		})
		t.Error("Do returned after Goexit")
	}()
	<-done
	if _, held := store.Holder("k"); held {
		t.Error("still held after Goexit")
	}
}

func TestAfterALossTheReleaseIsTriedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		var end ending
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Inject(guardtest.Fault{}) // the network is gone
			return end.await(ctx)
		})
		wantError(t, err, guard.ErrLost)
		if d := time.Since(end.at); d > time.Second {
			t.Errorf("kept the caller for %v after the loss, want one attempt", d)
		}
		store.Fail(nil)
		time.Sleep(time.Minute)
	})
}

func TestReleaseThatFindsAnotherOwnerIsALoss(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Hold("k", "thief")
			return ctx.Err()
		})
		wantError(t, err, guard.ErrLost)
		if owner, _ := store.Holder("k"); owner != "thief" {
			t.Errorf("held by %q: the release hit another owner's lease", owner)
		}
	})
}

func TestFailedReleaseIsNoErrorAndIsRetried(t *testing.T) {
	obs := &recorder{}
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Inject(guardtest.Fault{Op: guardtest.OpRelease, Times: 4})
		noError(t, g.Do(t.Context(), "k", nothing))
		if !obs.saw(guard.EventReleaseFailed) {
			t.Error("the observer was not called")
		}
		time.Sleep(5 * time.Second)
		if owner, ok := store.Holder("k"); ok {
			t.Errorf("still held by %q: it was not retried", owner)
		}
	}, guard.Observe(obs))
}

func TestCancelDoesNotReleaseBeforeFnReturns(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		ctx, cancel := context.WithCancel(t.Context())
		cleaned := false
		go func() {
			_ = a.Do(ctx, "k", func(ctx context.Context) error {
				cancel()
				<-ctx.Done()
				time.Sleep(time.Minute) // slow to clean up: several TTLs
				cleaned = true
				return nil
			})
		}()
		synctest.Wait()
		noError(t, b.Do(t.Context(), "k", func(context.Context) error {
			if !cleaned {
				t.Error("overlaps with the clean-up")
			}
			return nil
		}))
	})
}
