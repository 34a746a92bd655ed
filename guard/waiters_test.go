package guard_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestDoRunsOneAtATimeAcrossProcesses(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		var inside, runs atomic.Int32
		var wg sync.WaitGroup
		for i := range 40 {
			g := a
			if i%2 == 0 {
				g = b
			}
			wg.Go(func() {
				noError(t, g.Do(t.Context(), "k", func(context.Context) error {
					if inside.Add(1) != 1 {
						t.Error("two runs at once")
					}
					time.Sleep(3 * time.Millisecond)
					inside.Add(-1)
					runs.Add(1)
					return nil
				}))
			})
		}
		wg.Wait()
		if n := runs.Load(); n != 40 {
			t.Errorf("%d runs, want 40", n)
		}
	})
}

// waiterStartsWithin fails the test if a waiter starts later than limit after the release.
func waiterStartsWithin(t *testing.T, limit time.Duration, a, b *guard.Guard) {
	t.Helper()
	end, _ := hold(t, a, "k")
	var released time.Time
	time.AfterFunc(777*time.Millisecond, func() { released = time.Now(); end() })
	noError(t, b.Do(t.Context(), "k", func(context.Context) error {
		if d := time.Since(released); d > limit {
			t.Errorf("slept on a free key for %v", d)
		}
		return nil
	}))
}

func TestReleaseWakesTheWaiterAtOnce(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		waiterStartsWithin(t, 0, a, b)
	})
}

func TestLostWakeUpCostsAPollAtMost(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		store.Inject(guardtest.Fault{Op: guardtest.OpWake})
		waiterStartsWithin(t, 5*time.Second, a, b) // at the default TTL
	})
}

func TestSurvivorOfAHundredCancelledWaitersGetsTheKey(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
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
			noError(t, b.Do(t.Context(), "k", func(context.Context) error {
				if d := time.Since(released); d > 0 {
					t.Errorf("the survivor waited %v on a free key", d)
				}
				return nil
			}))
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
		// a lease with local waiters may serve them before it hands on.
		_, a, b := twoProcesses(t)
		end, _ := hold(t, a, "k")
		var mu sync.Mutex
		served := map[*guard.Guard][]int{}
		var first *guard.Guard
		var wg sync.WaitGroup
		for i := range 20 {
			g := []*guard.Guard{b, a}[i%2]
			wg.Go(func() {
				noError(t, g.Do(t.Context(), "k", func(context.Context) error {
					mu.Lock()
					defer mu.Unlock()
					if first == nil {
						first = g
					}
					served[g] = append(served[g], i)
					return nil
				}))
			})
			synctest.Wait() // it is in the queue
		}
		time.Sleep(time.Second) // longer than local handoffs last
		end()
		wg.Wait()
		if first != b {
			t.Error("the process that came first was not served first")
		}
		for g, order := range served {
			if len(order) != 10 || !slices.IsSorted(order) {
				t.Errorf("process %v served %v", g == a, order)
			}
		}
	})
}

func TestFirstLocalWaiterIsServedBeforeALaterProcess(t *testing.T) {
	const handoff = 10 * time.Millisecond // until then the key may be handed on locally
	for name, at := range map[string]struct{ local, other time.Duration }{
		"a waiter that came after handoffs":  {time.Second, 2 * time.Second},
		"a waiter that came during handoffs": {handoff / 2, handoff + time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
				end, result := hold(t, a, "k")
				began := time.Now()
				var served []string // guarded by the key
				var wg sync.WaitGroup
				wait := func(g *guard.Guard, who string, when time.Duration) {
					time.Sleep(time.Until(began.Add(when)))
					wg.Go(func() {
						noError(t, g.Do(t.Context(), "k", func(context.Context) error {
							served = append(served, who)
							return nil
						}))
					})
					synctest.Wait() // it is in the queue
				}
				wait(a, "local", at.local)
				wait(b, "other", at.other)
				time.Sleep(3 * time.Second)
				end()
				wg.Wait()
				if !slices.Equal(served, []string{"local", "other"}) {
					t.Errorf("served %q, want those who came first", served)
				}
				noError(t, <-result)
			})
		})
	}
}
