package guard_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestFnDoesNotRunWhenItsContextEndedDuringTheFirstAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		store.Delay(50 * time.Millisecond)
		for i := range 40 { // were it left to chance, it would run in half of them
			g := newGuard(t, store) // as yet it does not know how far away the store is
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			err := g.Do(ctx, fmt.Sprint("k", i), func(context.Context) error {
				t.Error("ran with a context that had ended before the grant")
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Do() = %v, want context.Canceled", err)
			}
		}
		time.Sleep(time.Second)
		if keys := store.Keys(); len(keys) > 0 {
			t.Errorf("%q were granted and not given back", keys)
		}
	})
}

func TestStallKeepsACancelledCallerForATenthOfASecondAtMost(t *testing.T) {
	for _, rtt := range []time.Duration{0, 10 * time.Millisecond, 60 * time.Millisecond, 300 * time.Millisecond} {
		t.Run(fmt.Sprint("rtt=", rtt), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				store.Delay(rtt)
				g := newGuard(t, store)
				for range 3 {
					if err := g.Do(t.Context(), "k", nothing); err != nil {
						t.Fatal(err)
					}
				}
				store.Inject(guardtest.Fault{})
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(10*time.Millisecond, cancel)
				start := time.Now()
				err := g.Do(ctx, "k", nothing)
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Do() = %v, want context.Canceled", err)
				}
				if d := time.Since(start); d > 100*time.Millisecond {
					t.Errorf("came back after %v", d)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// slowToEnd takes a while to notice that a call's context ended.
type slowToEnd struct{ *guardtest.Store }

func (s slowToEnd) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	reply, err := s.Store.Acquire(ctx, r)
	if err != nil {
		time.Sleep(5 * time.Millisecond)
	}
	return reply, err
}

func TestAttemptThatWasBrokenOffDoesNotHitTheNextCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := slowToEnd{guardtest.NewStore()}
		store.Hold("k", "ops")
		g := newGuard(t, store)
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { first <- g.Do(ctx, "k", nothing) }()
		synctest.Wait()
		store.Delay(80 * time.Millisecond)
		for store.Calls(guardtest.OpAcquire) < 2 { // it asks again
			time.Sleep(time.Millisecond)
		}
		store.Expire("k")
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("Do() = %v, want context.Canceled", err)
		}
		// The attempt returns in 5 ms, with an error that is none of the next's.
		if err := g.With(guard.Wait(0)).Do(t.Context(), "k", nothing); err != nil {
			t.Errorf("Do() = %v on a free key of a healthy store", err)
		}
		time.Sleep(time.Minute)
	})
}

func TestWaitIsCountedFromTheCall(t *testing.T) {
	for name, trouble := range map[string]func(*guardtest.Store){
		"silent":             func(s *guardtest.Store) { s.Inject(guardtest.Fault{}) },
		"busy, slow to tell": func(s *guardtest.Store) { s.Hold("k", "ops"); s.Delay(40 * time.Millisecond) },
	} {
		for _, wait := range []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
			t.Run(fmt.Sprint(name, ", ", wait), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := guardtest.NewStore()
					trouble(store)
					start := time.Now()
					err := newGuard(t, store, guard.Wait(wait)).Do(t.Context(), "k", nothing)
					if err == nil {
						t.Error("Do() = nil")
					}
					if d := time.Since(start); d != wait {
						t.Errorf("took %v", d)
					}
					time.Sleep(time.Minute)
				})
			})
		}
	}
}
