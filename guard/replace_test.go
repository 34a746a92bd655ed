package guard_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// stopsAfter is an fn that works until its context ends, and cleans up for d.
func stopsAfter(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(d)
		return context.Cause(ctx)
	}
}

// Whether the newcomer is of the same process or of another: it runs as soon as the
// holder has stopped, and not before.
func TestReplaceStopsTheHolderAndRunsAfterIt(t *testing.T) {
	for _, same := range []bool{true, false} {
		inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
			if same {
				b = a
			}
			first := make(chan error, 1)
			go func() { first <- a.Do(t.Context(), "k", stopsAfter(time.Minute)) }()
			time.Sleep(time.Second)
			began := time.Now()
			must(t, b.With(guard.Replace()).Do(t.Context(), "k", func(context.Context) error {
				if waited := time.Since(began); waited < time.Minute || waited > time.Minute+time.Millisecond {
					t.Errorf("it began after %v", waited)
				}
				return nil
			}))
			err := <-first
			wantError(t, err, guard.ErrReplaced)
			if errors.Is(err, guard.ErrLost) || errors.Is(err, guard.ErrBusy) {
				t.Errorf("the holder got %v", err)
			}
			synctest.Wait()
			noneLeft(t, store)
		})
	}
}

func TestReplaceReachesAYoungHolderDespiteLostMessages(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		store.Inject(guardtest.Fault{Op: guardtest.OpReplace, Err: errors.New("down"), Times: 1})
		store.Inject(guardtest.Fault{Op: guardtest.OpStop, Times: 2})
		go func() { _ = a.Do(t.Context(), "k", untilDone) }()
		synctest.Wait()
		began := time.Now()
		must(t, b.With(guard.Replace()).Do(t.Context(), "k", nothing))
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestHolderThatDoesNotStopLeavesTheKeyBusy(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		end, result := hold(t, a, "k")
		time.Sleep(time.Second)
		began := time.Now()
		err := b.With(guard.Replace(), guard.Wait(5*time.Second)).Do(t.Context(), "k", nothing)
		wantError(t, err, guard.ErrBusy)
		if time.Since(began) != 5*time.Second || errors.Is(err, guard.ErrReplaced) {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		end()
		wantError(t, <-result, guard.ErrReplaced)
	})
}

// Of several newcomers only the latest stays, in one process and among two.
func TestOnlyTheLatestNewcomerStays(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		end, result := hold(t, a, "k")
		time.Sleep(time.Second)
		type outcome struct {
			err   error
			after time.Duration
		}
		outcomes := make([]chan outcome, 4)
		for i, g := range []*guard.Guard{a, b, b, a} {
			outcomes[i] = make(chan outcome, 1)
			began := time.Now()
			go func() {
				err := g.With(guard.Replace()).Do(t.Context(), "k", nothing)
				outcomes[i] <- outcome{err, time.Since(began)}
			}()
			time.Sleep(2 * time.Second)
			if i == 0 {
				continue
			}
			o := <-outcomes[i-1]
			wantError(t, o.err, guard.ErrBusy)
			wantError(t, o.err, guard.ErrReplaced)
			if o.after > 3*time.Second+time.Millisecond {
				t.Errorf("newcomer %d heard of it %v after it came", i-1, o.after)
			}
		}
		end()
		wantError(t, <-result, guard.ErrReplaced)
		noError(t, (<-outcomes[3]).err)
		synctest.Wait()
		noneLeft(t, store)
	})
}

func TestCallersBeforeANewcomerHaveTheirTurnAndAreAskedToStop(t *testing.T) {
	for _, same := range []bool{true, false} {
		inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
			if same {
				b = a
			}
			end, first := hold(t, a, "k")
			time.Sleep(time.Second)
			plain := make(chan error, 1)
			go func() { plain <- b.Do(t.Context(), "k", untilDone) }()
			time.Sleep(time.Second)
			latest := make(chan error, 1)
			go func() { latest <- a.With(guard.Replace()).Do(t.Context(), "k", nothing) }()
			time.Sleep(time.Second)
			end()
			wantError(t, <-first, guard.ErrReplaced)
			wantError(t, <-plain, guard.ErrReplaced)
			noError(t, <-latest)
		})
	}
}

func TestNewcomersInTurnReplaceEachOther(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		results := make(chan error, 10)
		for i := range 10 {
			g := []*guard.Guard{a, b}[i%2].With(guard.Replace())
			go func() { results <- g.Do(t.Context(), "k", stopsAfter(0)) }()
			time.Sleep(3 * time.Second)
			if i > 0 {
				wantError(t, <-results, guard.ErrReplaced)
			}
		}
	})
}

// The latest leads, also when it came with Replace, was itself replaced, and has it still.
func TestReplacedLeaderStandsByAndLeadsAgain(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		var leader atomic.Value
		var terms atomic.Int32
		results := make(chan error, 2)
		lead := func(g *guard.Guard, name string) context.CancelFunc {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				results <- g.With(guard.Replace()).Lead(ctx, "k", func(ctx context.Context) error {
					leader.Store(name)
					terms.Add(1)
					<-ctx.Done()
					return nil
				})
			}()
			time.Sleep(time.Minute)
			return cancel
		}
		endA, endB := lead(a, "a"), lead(b, "b")
		if leader.Load() != "b" || terms.Load() != 2 {
			t.Errorf("after a minute %s leads, in term %d", leader.Load(), terms.Load())
		}
		endB()
		must(t, <-results)
		time.Sleep(time.Second)
		if leader.Load() != "a" || terms.Load() != 3 {
			t.Errorf("the one that was replaced does not lead: %s, in term %d", leader.Load(), terms.Load())
		}
		endA()
		must(t, <-results)
	})
}

// A newcomer that gives up, or has done its work, leaves the fleet with a leader.
func TestLeaderThatANewcomerStoppedLeadsAgain(t *testing.T) {
	for _, wait := range []time.Duration{2 * time.Second, time.Hour} {
		inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
			ctx, cancel := context.WithCancel(t.Context())
			var terms atomic.Int32
			result := make(chan error, 1)
			go func() {
				result <- a.Lead(ctx, "k", func(ctx context.Context) error {
					terms.Add(1)
					return stopsAfter(10 * time.Second)(ctx)
				})
			}()
			time.Sleep(time.Second)
			err := b.With(guard.Replace(), guard.Wait(wait)).Do(t.Context(), "k", nothing)
			if impatient := wait < time.Minute; impatient != errors.Is(err, guard.ErrBusy) {
				t.Errorf("the newcomer got %v", err)
			}
			time.Sleep(20 * time.Second)
			if n := terms.Load(); n != 2 {
				t.Errorf("%d terms, want 2", n)
			}
			cancel()
			wantError(t, <-result, context.Canceled)
		})
	}
}

// Of leaders that wait under Replace the earlier ones stand by.
func TestLeaderThatIsReplacedWhileItWaitsStaysInLine(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		end, result := hold(t, a, "k")
		order := make(chan string, 2)
		lead := func(g *guard.Guard, name string) {
			noError(t, g.With(guard.Replace()).Lead(t.Context(), "k", func(context.Context) error {
				order <- name
				return nil
			}))
		}
		go lead(a, "first")
		time.Sleep(2 * time.Second)
		go lead(b, "second")
		time.Sleep(5 * time.Second)
		end()
		wantError(t, <-result, guard.ErrReplaced)
		if one, two := <-order, <-order; one != "second" || two != "first" {
			t.Errorf("%s led before %s", one, two)
		}
	})
}

func TestDoAllThatIsReplacedOnTheWayDoesNotStartOver(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		end, result := hold(t, b, "z")
		waiting := make(chan error, 1)
		go func() { waiting <- a.With(guard.Replace()).DoAll(t.Context(), []string{"a", "z"}, nothing) }()
		time.Sleep(time.Second)
		must(t, b.With(guard.Replace()).Do(t.Context(), "a", nothing))
		err := <-waiting
		wantError(t, err, guard.ErrBusy)
		wantError(t, err, guard.ErrReplaced)
		end()
		wantError(t, <-result, guard.ErrReplaced)
	})
}

func TestReplaceIsRefusedWhereItCannotBeKept(t *testing.T) {
	for _, opt := range []guard.Option{guard.Limit(2), guard.Limit(1), guard.Shared()} {
		if _, err := guard.New(guardtest.NewStore(), guard.Replace(), opt); err == nil || !strings.Contains(err.Error(), "Replace") {
			t.Errorf("New() = %v", err)
		}
	}
	_, err := guard.New(struct{ lease.Store }{guardtest.NewStore()}, guard.Replace())
	if err == nil || !strings.Contains(err.Error(), "cannot ask holders to stop") {
		t.Errorf("New() = %v", err)
	}
}

// Whether the holder is of the same process or of another.
func TestReplaceThatOnlyTriesStopsNoHolder(t *testing.T) {
	for _, same := range []bool{true, false} {
		inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
			if same {
				b = a
			}
			end, result := hold(t, a, "k")
			time.Sleep(time.Second)
			wantError(t, b.With(guard.Replace(), guard.Wait(0)).Do(t.Context(), "k", nothing), guard.ErrBusy)
			time.Sleep(5 * time.Second)
			end()
			must(t, <-result)
			synctest.Wait()
			noneLeft(t, store)
		})
	}
}
