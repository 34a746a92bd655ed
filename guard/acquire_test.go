package guard_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestFnDoesNotRunIfItsContextEndedInTheFirstAttempt(t *testing.T) {
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
			wantError(t, err, context.Canceled)
		}
		time.Sleep(time.Second)
		noneLeft(t, store)
	})
}

func TestStallDelaysACancelledCallerByATenthOfASecond(t *testing.T) {
	for _, rtt := range []time.Duration{0, 10 * time.Millisecond, 60 * time.Millisecond, 300 * time.Millisecond} {
		t.Run(fmt.Sprint("rtt=", rtt), func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				store.Delay(rtt)
				for range 3 {
					must(t, g.Do(t.Context(), "k", nothing))
				}
				store.Inject(guardtest.Fault{})
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(10*time.Millisecond, cancel)
				start := time.Now()
				wantError(t, g.Do(ctx, "k", nothing), context.Canceled)
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
		wantError(t, <-first, context.Canceled)
		// The attempt returns in 5 ms, with an error that is none of the next's.
		if err := g.With(guard.Wait(0)).Do(t.Context(), "k", nothing); err != nil {
			t.Errorf("Do() = %v on a free key of a healthy store", err)
		}
		time.Sleep(time.Minute)
	})
}

func TestUncontendedDoTakesTwoRoundTrips(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		for range 10 {
			must(t, g.Do(t.Context(), "k", nothing))
		}
		if a, r := store.Calls(guardtest.OpAcquire), store.Calls(guardtest.OpRelease); a != 10 || r != 10 {
			t.Errorf("%d acquires and %d releases for 10 runs", a, r)
		}
	})
}

func TestFailingStoreIsRetriedForTheLesserOfWaitAndTTL(t *testing.T) {
	down, oom := errors.New("connection refused"), errors.New("OOM")
	for _, c := range []struct {
		name  string
		opt   guard.Option
		cause error
		err   error // of the store
		want  time.Duration
	}{
		{"Wait(0)", guard.Wait(0), down, down, 0},
		{"Wait(2s)", guard.Wait(2 * time.Second), down, down, 2 * time.Second},
		{"Forever", guard.Forever(), down, down, 10 * time.Second},
		{"refused", guard.Forever(), oom, errors.Join(lease.ErrRefused, oom), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				store.Fail(c.err)
				start := time.Now()
				err := g.Do(t.Context(), "k", nothing)
				if !errors.Is(err, guard.ErrUnavailable) || !errors.Is(err, c.cause) {
					t.Errorf("Do() = %v, want ErrUnavailable and the cause", err)
				}
				if d := time.Since(start); d < c.want || d > c.want+c.want/100 {
					t.Errorf("gave up after %v, want %v", d, c.want)
				}
				store.Fail(nil)
				noError(t, g.Do(t.Context(), "k", nothing))
			}, c.opt)
		})
	}
}

func TestOneStallOfASecondStillAcquires(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Delay(100 * time.Millisecond)
		store.Inject(guardtest.Fault{Op: guardtest.OpAcquire, Times: 1})
		noError(t, g.Do(t.Context(), "k", nothing))
	}, guard.TTL(2*time.Second))
}

// A deadline gives the store time, as Wait does. A cancelled caller gave it none.
func TestStoreThatDoesNotAnswerByTheDeadlineIsUnavailable(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Inject(guardtest.Fault{Op: guardtest.OpAcquire})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := g.Do(ctx, "k", nothing); !errors.Is(err, guard.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do() = %v at its deadline, want ErrUnavailable and the context's error", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		if err := g.Do(ctx, "k", nothing); errors.Is(err, guard.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("Do() = %v when cancelled, want the context's error", err)
		}
		store.Fail(nil)
	})
}

// The attempts have deadlines of their own.
func TestDeadlineOfAnAttemptIsNotTheCallers(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Inject(guardtest.Fault{Op: guardtest.OpAcquire})
		err := g.With(guard.Wait(3*time.Second)).Do(t.Context(), "k", nothing)
		if !errors.Is(err, guard.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do() = %v, want ErrUnavailable and no deadline", err)
		}
		store.Fail(nil)
		err = g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew})
			return untilDone(ctx)
		})
		if !errors.Is(err, guard.ErrLost) || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "deadline") {
			t.Errorf("Do() = %v, want ErrLost, with the last renewal's error in words", err)
		}
		store.Fail(nil)
	})
}
