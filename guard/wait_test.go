package guard_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestWaitIsCountedFromTheCall(t *testing.T) {
	for name, trouble := range map[string]func(*guardtest.Store){
		"silent":             func(s *guardtest.Store) { s.Inject(guardtest.Fault{}) },
		"busy, slow to tell": func(s *guardtest.Store) { s.Hold("k", "ops"); s.Delay(40 * time.Millisecond) },
	} {
		for _, wait := range []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
			t.Run(fmt.Sprint(name, ", ", wait), func(t *testing.T) {
				inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
					trouble(store)
					start := time.Now()
					err := g.Do(t.Context(), "k", nothing)
					if d := time.Since(start); err == nil || d != wait {
						t.Errorf("Do() = %v after %v", err, d)
					}
					time.Sleep(time.Minute)
				}, guard.Wait(wait))
			})
		}
	}
}

func TestWaitBoundsTheWait(t *testing.T) {
	for _, wait := range []time.Duration{0, 3 * time.Second} {
		t.Run(wait.String(), func(t *testing.T) {
			inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
				end, _ := hold(t, a, "k")
				for name, g := range map[string]*guard.Guard{"same process": a, "other process": b} {
					start := time.Now()
					err := g.With(guard.Wait(wait)).Do(t.Context(), "k", nothing)
					var e *guard.Error
					if !errors.Is(err, guard.ErrBusy) || !errors.As(err, &e) {
						t.Fatalf("%s: Do() = %v, want ErrBusy", name, err)
					}
					if e.Holder == "" || e.RetryAfter <= 0 || e.RetryAfter > 10*time.Second || e.Key != "k" {
						t.Errorf("%s: %+v tells too little", name, e)
					}
					if d := time.Since(start); d != wait {
						t.Errorf("%s: waited %v", name, d)
					}
					synctest.Wait()
					if n := store.Waiting("k"); n != 0 {
						t.Errorf("%s: %d left in the queue", name, n)
					}
				}
				end()
			})
		})
	}
}

// Between one holder and the next the store has not told yet who has the key.
func TestWaitThatEndsBetweenTwoHoldersIsBusyAndNeverUnavailable(t *testing.T) {
	for _, limit := range []int{1, 2} {
		t.Run(fmt.Sprintf("limit %d", limit), func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				store.Delay(10 * time.Millisecond)
				run := func(context.Context) error { time.Sleep(time.Second); return nil }
				var all sync.WaitGroup
				for range 2 * limit {
					all.Go(func() { noError(t, g.Do(t.Context(), "k", run)) })
				}
				time.Sleep(500 * time.Millisecond)
				for d := 490 * time.Millisecond; d < 600*time.Millisecond; d += time.Millisecond {
					all.Go(func() { wantError(t, g.With(guard.Wait(d)).Do(t.Context(), "k", run), guard.ErrBusy) })
				}
				all.Wait()
			}, guard.Limit(limit))
		})
	}
}

func TestContextEndWhileWaitingIsReturnedWithItsCause(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		end, _ := hold(t, a, "k")
		cause := errors.New("user went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		err := b.Do(ctx, "k", nothing)
		for _, want := range []error{context.Canceled, cause, guard.ErrBusy} {
			wantError(t, err, want)
		}
		end()
	})
}

func TestWaitZeroOnASilentStoreIsNotBusy(t *testing.T) {
	for timeout, want := range map[time.Duration]error{
		50 * time.Millisecond:  context.DeadlineExceeded, // in the first attempt
		300 * time.Millisecond: context.DeadlineExceeded,
		time.Minute:            guard.ErrUnavailable,
	} {
		t.Run(timeout.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				store.Inject(guardtest.Fault{})
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				if err := g.Do(ctx, "k", nothing); errors.Is(err, guard.ErrBusy) || !errors.Is(err, want) {
					t.Errorf("Do() = %v, want %v: the key is free", err, want)
				}
				time.Sleep(time.Minute)
			}, guard.Wait(0))
		})
	}
}

func TestWaitZeroBehindAnUnansweredAttemptLearnsItsOutcome(t *testing.T) {
	for _, c := range []struct {
		name   string
		state  func(*guardtest.Store)
		want   [3]error // nil: it ran
		holder string   // whom the refused get
	}{
		{
			name:  "silent",
			state: func(s *guardtest.Store) { s.Inject(guardtest.Fault{}) },
			want:  [3]error{guard.ErrUnavailable, guard.ErrUnavailable, guard.ErrUnavailable},
		},
		{
			name:   "held",
			state:  func(s *guardtest.Store) { s.Hold("k", "ops"); s.Delay(50 * time.Millisecond) },
			want:   [3]error{guard.ErrBusy, guard.ErrBusy, guard.ErrBusy},
			holder: "ops",
		},
		{
			name:   "free",
			state:  func(s *guardtest.Store) { s.Delay(50 * time.Millisecond) },
			want:   [3]error{nil, guard.ErrBusy, guard.ErrBusy},
			holder: "guardtest",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				c.state(store)
				var errs [3]error
				var wg sync.WaitGroup
				for i := range errs {
					wg.Go(func() { errs[i] = g.Do(t.Context(), "k", nothing) })
					time.Sleep(time.Millisecond)
				}
				wg.Wait()
				for i, err := range errs {
					if !errors.Is(err, c.want[i]) || c.want[i] != guard.ErrBusy && errors.Is(err, guard.ErrBusy) {
						t.Errorf("call %d: Do() = %v, want %v", i, err, c.want[i])
					}
					var e *guard.Error
					if errors.As(err, &e) && e.Holder != c.holder {
						t.Errorf("call %d: held by %q, want %q", i, e.Holder, c.holder)
					}
				}
				time.Sleep(time.Minute)
			}, guard.Wait(0))
		})
	}
}

func TestTryingOnceAgainAndAgainIsBusyAndNeverUnavailable(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		end, _ := hold(t, a, "k")
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 500 { // each comes while the one before is leaving
					if err := b.With(guard.Wait(0)).Do(t.Context(), "k", nothing); !errors.Is(err, guard.ErrBusy) {
						t.Errorf("Do() = %v, want ErrBusy", err)
						return
					}
				}
			})
		}
		wg.Wait()
		end()
	})
}
