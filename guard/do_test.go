package guard_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestDoRunsOneAtATimeAcrossProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t)
		var inside, runs atomic.Int32
		var wg sync.WaitGroup
		for i := range 40 {
			g := a
			if i%2 == 0 {
				g = b
			}
			wg.Go(func() {
				err := g.Do(t.Context(), "k", func(context.Context) error {
					if inside.Add(1) != 1 {
						t.Error("two runs at once")
					}
					time.Sleep(3 * time.Millisecond)
					inside.Add(-1)
					runs.Add(1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := runs.Load(); n != 40 {
			t.Errorf("%d runs, want 40", n)
		}
	})
}

func TestDoLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		if err := g.Do(t.Context(), "k", nothing); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if keys := store.Keys(); len(keys) > 0 {
			t.Errorf("keys %q are left", keys)
		}
	})
}

func TestUncontendedDoTakesTwoRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		for range 10 {
			if err := g.Do(t.Context(), "k", nothing); err != nil {
				t.Fatal(err)
			}
		}
		if a, r := store.Calls(guardtest.OpAcquire), store.Calls(guardtest.OpRelease); a != 10 || r != 10 {
			t.Errorf("%d acquires and %d releases for 10 runs", a, r)
		}
	})
}

func TestErrorsOfFnPassThroughUnchanged(t *testing.T) {
	g := newGuard(t, guardtest.NewStore())
	want := errors.New("mine")
	if err := g.Do(t.Context(), "k", func(context.Context) error { return want }); err != want {
		t.Errorf("Do() = %v, want the very error of fn", err)
	}
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

func TestWaitZeroTriesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, a, b := twoProcesses(t)
		end, _ := hold(t, a, "k")
		for name, g := range map[string]*guard.Guard{"same process": a, "other process": b} {
			start := time.Now()
			err := g.With(guard.Wait(0)).Do(t.Context(), "k", nothing)
			var e *guard.Error
			if !errors.Is(err, guard.ErrBusy) || !errors.As(err, &e) {
				t.Fatalf("%s: Do() = %v, want ErrBusy", name, err)
			}
			if e.Holder == "" || e.RetryAfter <= 0 || e.RetryAfter > 10*time.Second || e.Key != "k" {
				t.Errorf("%s: %+v tells too little", name, e)
			}
			if time.Since(start) > 0 {
				t.Errorf("%s: waited %v", name, time.Since(start))
			}
		}
		if n := store.Waiting("k"); n != 0 {
			t.Errorf("%d left in line", n)
		}
		end()
	})
}

func TestWaitBoundsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, a, b := twoProcesses(t)
		end, _ := hold(t, a, "k")
		for name, g := range map[string]*guard.Guard{"same process": a, "other process": b} {
			start := time.Now()
			err := g.With(guard.Wait(3*time.Second)).Do(t.Context(), "k", nothing)
			if !errors.Is(err, guard.ErrBusy) {
				t.Errorf("%s: Do() = %v, want ErrBusy", name, err)
			}
			if d := time.Since(start); d != 3*time.Second {
				t.Errorf("%s: waited %v, want 3s", name, d)
			}
		}
		synctest.Wait()
		if n := store.Waiting("k"); n != 0 {
			t.Errorf("%d left in line", n)
		}
		end()
	})
}

func TestContextEndWhileWaitingIsToldWithItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t)
		end, _ := hold(t, a, "k")
		cause := errors.New("user went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		err := b.Do(ctx, "k", nothing)
		for _, want := range []error{context.Canceled, cause, guard.ErrBusy} {
			if !errors.Is(err, want) {
				t.Errorf("Do() = %v, want it to wrap %v", err, want)
			}
		}
		end()
	})
}

func TestEndedContextDoesNotRun(t *testing.T) {
	store := guardtest.NewStore()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := newGuard(t, store).Do(ctx, "k", func(context.Context) error {
		t.Error("ran")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Do() = %v, want context.Canceled", err)
	}
	if n := store.Calls(guardtest.OpAcquire); n != 0 {
		t.Errorf("asked the store %d times", n)
	}
}

func TestReleaseWakesTheWaiterAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t)
		end, _ := hold(t, a, "k")
		var released time.Time
		time.AfterFunc(777*time.Millisecond, func() { released = time.Now(); end() })
		err := b.Do(t.Context(), "k", func(context.Context) error {
			if d := time.Since(released); d != 0 {
				t.Errorf("started %v after the release", d)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestLostWakeUpCostsAPollAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, a, b := twoProcesses(t)
		store.Inject(guardtest.Fault{Op: guardtest.OpWake})
		end, _ := hold(t, a, "k")
		var released time.Time
		time.AfterFunc(777*time.Millisecond, func() { released = time.Now(); end() })
		err := b.Do(t.Context(), "k", func(context.Context) error {
			if d := time.Since(released); d > 1100*time.Millisecond {
				t.Errorf("slept on a free key for %v", d)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestSurvivorOfAHundredCancelledWaitersGetsTheKeyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := twoProcesses(t)
		end, _ := hold(t, a, "k")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 50 {
			for _, g := range []*guard.Guard{a, b} {
				wg.Go(func() {
					if err := g.Do(ctx, "k", nothing); err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				})
			}
		}
		synctest.Wait()
		var released time.Time
		wg.Go(func() {
			err := b.Do(t.Context(), "k", func(context.Context) error {
				if d := time.Since(released); d > 0 {
					t.Errorf("the survivor waited %v on a free key", d)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		released = time.Now()
		go cancel()
		go end()
		wg.Wait()
	})
}

func TestWaitersAreServedInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Calls alternate between processes. Inside one the order is that of the
		// calls; between them a process's place is that of its first waiter, and
		// a tenure with local followers may serve them before it hands on.
		_, a, b := twoProcesses(t)
		end, _ := hold(t, a, "k")
		var mu sync.Mutex
		served := map[*guard.Guard][]int{}
		var first *guard.Guard
		var wg sync.WaitGroup
		for i := range 20 {
			g := []*guard.Guard{b, a}[i%2]
			wg.Go(func() {
				err := g.Do(t.Context(), "k", func(context.Context) error {
					mu.Lock()
					defer mu.Unlock()
					if first == nil {
						first = g
					}
					served[g] = append(served[g], i)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // it stands in line
		}
		time.Sleep(time.Second) // longer than a tenure: no local handoff
		end()
		wg.Wait()
		if first != b {
			t.Error("the process that came first to the line was not served first")
		}
		for g, order := range served {
			if len(order) != 10 || !slices.IsSorted(order) {
				t.Errorf("process %v served %v", g == a, order)
			}
		}
	})
}

func TestRefusedByStoreReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store)
		cause := errors.New("OOM")
		store.Fail(errors.Join(lease.ErrRefused, cause))
		start := time.Now()
		err := g.Do(t.Context(), "k", nothing)
		if !errors.Is(err, guard.ErrUnavailable) || !errors.Is(err, cause) {
			t.Errorf("Do() = %v, want ErrUnavailable and the cause", err)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("took %v", d)
		}
		store.Fail(nil)
		if err := g.Do(t.Context(), "k", nothing); err != nil {
			t.Errorf("after healing: %v", err)
		}
	})
}

func TestFailingStoreIsRetriedForTheLesserOfWaitAndTTL(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  guard.Option
		want time.Duration
	}{
		{"Wait(0)", guard.Wait(0), 0},
		{"Wait(2s)", guard.Wait(2 * time.Second), 2 * time.Second},
		{"Forever", guard.Forever(), 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				g := newGuard(t, store, c.opt)
				cause := errors.New("connection refused")
				store.Fail(cause)
				start := time.Now()
				err := g.Do(t.Context(), "k", nothing)
				if !errors.Is(err, guard.ErrUnavailable) || !errors.Is(err, cause) {
					t.Errorf("Do() = %v, want ErrUnavailable and the cause", err)
				}
				if d := time.Since(start); d < c.want || d > c.want+c.want/100 {
					t.Errorf("gave up after %v, want %v", d, c.want)
				}
			})
		})
	}
}

func TestOneStallOfASecondStillAcquires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.TTL(2*time.Second))
		store.Delay(100 * time.Millisecond)
		store.Inject(guardtest.Fault{Op: guardtest.OpAcquire, Times: 1})
		if err := g.Do(t.Context(), "k", nothing); err != nil {
			t.Error(err)
		}
	})
}

func TestErrorTellsWhatIsKnown(t *testing.T) {
	store := guardtest.NewStore()
	store.Hold("k", "deploy-script")
	err := newGuard(t, store, guard.Wait(0)).Do(t.Context(), "k", nothing)
	if !strings.Contains(err.Error(), `"k"`) || !strings.Contains(err.Error(), "deploy-script") {
		t.Errorf("Error() = %q", err)
	}
}
