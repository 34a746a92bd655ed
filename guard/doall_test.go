package guard_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestDoAllHoldsEveryKeyOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		noError(t, g.DoAll(t.Context(), []string{"c", "a", "b", "a"}, func(ctx context.Context) error {
			if _, ok := guard.Fence(ctx); ok {
				t.Error("Fence is ambiguous with several keys")
			}
			for _, k := range []string{"a", "b", "c"} {
				if _, ok := guard.FenceOf(ctx, k); !ok || !guard.Holding(ctx, k) {
					t.Errorf("%s is not held", k)
				}
			}
			time.Sleep(time.Minute)
			return ctx.Err()
		}))
		if n := store.Calls(guardtest.OpAcquire); n != 3 {
			t.Errorf("%d acquires, want 3", n)
		}
		noneLeft(t, store)
	})
}

func TestDoAllWithoutKeysIsAnError(t *testing.T) {
	g := newGuard(t, guardtest.NewStore())
	wantError(t, g.DoAll(t.Context(), nil, nothing), guard.ErrInvalidKey)
	wantError(t, g.DoAll(t.Context(), []string{"a", ""}, nothing), guard.ErrInvalidKey)
}

func TestDoAllWithOverlappingKeysDoesNotDeadlock(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		var mu [6]sync.Mutex
		var wg sync.WaitGroup
		for i := range 60 {
			g := []*guard.Guard{a, b}[i%2]
			wg.Go(func() {
				p := rand.Perm(6)[:3]
				keys := []string{fmt.Sprint("k", p[0]), fmt.Sprint("k", p[1]), fmt.Sprint("k", p[2])}
				noError(t, g.DoAll(t.Context(), keys, func(context.Context) error {
					for _, i := range p {
						if !mu[i].TryLock() {
							t.Errorf("k%d is held twice", i)
						}
					}
					time.Sleep(time.Millisecond)
					for _, i := range p {
						mu[i].Unlock()
					}
					return nil
				}))
			})
		}
		wg.Wait()
	})
}

func TestDoAllSkipsKeysThatAreHeld(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		noError(t, g.Do(t.Context(), "b", func(ctx context.Context) error {
			return g.DoAll(ctx, []string{"b", "c"}, func(ctx context.Context) error {
				if !guard.Holding(ctx, "b") || !guard.Holding(ctx, "c") {
					t.Error("not all held")
				}
				return nil
			})
		}))
		if n := store.Calls(guardtest.OpAcquire); n != 2 {
			t.Errorf("%d acquires, want 2", n)
		}
	})
}

// One run holds b and wants a, the other holds a and wants b: waiting for both
// would never end.
func TestDoAllRefusesAKeyOutOfOrderAtOnce(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, p, q *guard.Guard) {
		end, _ := hold(t, q, "a")
		noError(t, p.Do(t.Context(), "b", func(ctx context.Context) error {
			asked, start := store.Calls(guardtest.OpAcquire), time.Now()
			for _, keys := range [][]string{{"a"}, {"a", "b"}, {"z", "a"}} {
				var e *guard.Error
				err := p.DoAll(ctx, keys, nothing)
				if !errors.Is(err, guard.ErrOrder) || !errors.As(err, &e) || e.Key != "a" || !strings.Contains(err.Error(), `"b"`) {
					t.Errorf("DoAll(%q) = %v, want ErrOrder of a, which names b", keys, err)
				}
			}
			if n := store.Calls(guardtest.OpAcquire) - asked; n != 0 || time.Since(start) != 0 {
				t.Errorf("asked %d times in %v", n, time.Since(start))
			}
			return p.DoAll(ctx, []string{"b", "c"}, nothing)
		}))
		end()
	})
}

func TestDoAllStartsOverWhenAnEarlyKeyIsLost(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		obs := &recorder{}
		end, _ := hold(t, b, "late")
		time.AfterFunc(time.Minute, func() { store.Expire("early") })
		time.AfterFunc(2*time.Minute, end)
		noError(t, a.With(guard.Observe(obs)).DoAll(t.Context(), []string{"early", "late"}, func(ctx context.Context) error {
			if !guard.Holding(ctx, "early") || !guard.Holding(ctx, "late") {
				t.Error("runs without all its keys")
			}
			return nil
		}))
		if !slices.Equal(obs.asked, []string{"early", "late", "early"}) {
			t.Errorf("acquires of %v", obs.asked)
		}
		for i, e := range obs.acquired { // the loss of one ends no other acquire
			if e.Err != nil || obs.ctxErr[i] != nil {
				t.Errorf("%s: %v, context %v", e.Key, e.Err, obs.ctxErr[i])
			}
		}
	})
}

func TestDoAllIsCancelledWithAnyOfItsLeases(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		err := g.DoAll(t.Context(), []string{"a", "b"}, func(ctx context.Context) error {
			store.Expire("b")
			<-ctx.Done()
			return nil
		})
		var e *guard.Error
		if !errors.Is(err, guard.ErrLost) || !errors.As(err, &e) || e.Key != "b" {
			t.Errorf("DoAll() = %v, want ErrLost of b", err)
		}
		noneLeft(t, store)
	})
}

func TestLossOfOneKeyCountsEvenIfMaxHoldEndsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, gone := range []string{"a", "b"} {
			store := guardtest.NewStore()
			g := newGuard(t, store, guard.MaxHold(time.Minute))
			err := g.DoAll(t.Context(), []string{"a", "b"}, func(context.Context) error {
				store.Expire(gone)
				time.Sleep(2 * time.Minute) // does not look at its context
				return nil
			})
			wantError(t, err, guard.ErrLost)
		}
	})
}

func TestDoAllDoesNotStartOverForAStoreThatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		store.Fail(lease.ErrRefused)
		start := time.Now()
		err := newGuard(t, store).DoAll(t.Context(), []string{"a", "b"}, nothing)
		if d := time.Since(start); !errors.Is(err, guard.ErrUnavailable) || d > 0 {
			t.Errorf("DoAll() = %v after %v, want ErrUnavailable at once", err, d)
		}
	})
}

func TestDoAllWaitsInsideRunsThatDoNotCount(t *testing.T) {
	for name, run := range map[string]func(g *guard.Guard, fn func(context.Context) error) error{
		"of another store": func(_ *guard.Guard, fn func(context.Context) error) error {
			other, err := guard.New(guardtest.NewStore())
			if err != nil {
				return err
			}
			return other.Do(context.Background(), "z", fn)
		},
		"that has ended": func(g *guard.Guard, fn func(context.Context) error) error {
			var leaked context.Context
			_ = g.Do(context.Background(), "z", func(ctx context.Context) error {
				leaked = context.WithoutCancel(ctx) //nolint:fatcontext // leaking it is the point
				return nil
			})
			return fn(leaked)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
				end, _ := hold(t, b, "a")
				time.AfterFunc(time.Minute, func() {
					if n := store.Waiting("a"); n != 1 {
						t.Errorf("%d in the queue", n)
					}
					end()
				})
				err := run(a, func(ctx context.Context) error { return a.DoAll(ctx, []string{"a", "b"}, nothing) })
				noError(t, err)
			})
		})
	}
}

func TestWaitBoundsTheWholeOfDoAll(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		endB, _ := hold(t, b, "b")
		endC, _ := hold(t, b, "c")
		time.AfterFunc(2*time.Second, endB)
		start := time.Now()
		err := a.With(guard.Wait(3*time.Second)).DoAll(t.Context(), []string{"a", "b", "c"}, nothing)
		if d := time.Since(start); !errors.Is(err, guard.ErrBusy) || d != 3*time.Second {
			t.Errorf("DoAll() = %v after %v, want ErrBusy after 3s", err, d)
		}
		endC()
		synctest.Wait()
		noneLeft(t, store) // what was acquired is given back
	})
}
