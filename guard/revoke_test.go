package guard_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestRevokedContextEndsAtOnceAndTheKeyIsKeptUntilFnReturns(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		const cleanup = time.Minute // many TTLs
		var told ending
		var fence atomic.Int64
		result := make(chan error, 1)
		go func() {
			result <- a.Do(t.Context(), "k", func(ctx context.Context) error {
				noError(t, told.await(ctx))
				time.Sleep(cleanup)
				if !guard.Holding(ctx, "k") {
					t.Error("the key is not held while fn cleans up")
				}
				token, _ := guard.Fence(ctx)
				fence.Store(token)
				return nil
			})
		}()
		time.Sleep(time.Second)
		next := make(chan time.Time, 1)
		go func() {
			noError(t, b.Do(t.Context(), "k", func(ctx context.Context) error {
				next <- time.Now()
				if own, _ := guard.Fence(ctx); own <= fence.Load() || fence.Load() == 0 {
					t.Errorf("token %d after %d", own, fence.Load())
				}
				return nil
			}))
		}()
		time.Sleep(time.Second)
		asked := time.Now()
		must(t, store.Revoke("k", "hangs since midnight"))
		err := <-result
		wantError(t, err, guard.ErrRevoked)
		wantError(t, told.why, guard.ErrRevoked)
		if !told.at.Equal(asked) {
			t.Errorf("the context ended after %v, want at once", told.at.Sub(asked))
		}
		if took := (<-next).Sub(asked); took != cleanup {
			t.Errorf("the next run began after %v, want %v", took, cleanup)
		}
		if want := `guard: do "k": revoked: the holder was told to stop: hangs since midnight`; err.Error() != want {
			t.Errorf("the error is %q, want %q", err, want)
		}
		synctest.Wait()
		noneLeft(t, store)
	})
}

func TestRevocationJoinsTheErrorOfFn(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		own := errors.New("half done")
		time.AfterFunc(time.Second, func() { noError(t, store.Revoke("k", "")) })
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			<-ctx.Done()
			return own
		})
		wantError(t, err, guard.ErrRevoked)
		wantError(t, err, own)
		if errors.Is(err, guard.ErrLost) {
			t.Errorf("%v matches ErrLost: nothing was lost", err)
		}
	})
}

func TestRevokeTellsEachHolderOfALimit(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		results := make(chan error, 3)
		for _, g := range []*guard.Guard{a, a, b} {
			go func() { results <- g.Do(t.Context(), "k", untilDone) }()
		}
		time.Sleep(time.Second)
		must(t, store.Revoke("k", ""))
		for range 3 {
			wantError(t, <-results, guard.ErrRevoked)
		}
	}, guard.Limit(3))
}

// The lease is younger than 10 ms and has tokens left, as leases have that are handed
// over; another one makes the process listen.
func TestRevokedLeaseIsNotHandedOverInTheProcess(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		endOther, other := hold(t, a, "other")
		endFirst, first := hold(t, b, "k")
		time.Sleep(time.Second)
		revoked, order := make(chan error, 1), make(chan string, 2)
		run := func(g *guard.Guard, name string) {
			noError(t, g.Do(t.Context(), "k", func(context.Context) error {
				order <- name
				return nil
			}))
		}
		go func() { revoked <- a.Do(t.Context(), "k", untilDone) }()
		time.Sleep(time.Second)
		go run(a, "same process")
		time.Sleep(time.Second)
		endFirst()
		noError(t, <-first)
		time.Sleep(time.Millisecond)
		go run(b, "other process")
		time.Sleep(time.Millisecond)
		must(t, store.Revoke("k", ""))
		wantError(t, <-revoked, guard.ErrRevoked)
		if first, second := <-order, <-order; first != "other process" {
			t.Errorf("the order was %q, %q", first, second)
		}
		endOther()
		noError(t, <-other)
	})
}

// The holder is younger than 100 ms, and the first messages are lost: Revoke goes on.
func TestRevokeReachesAYoungHolderDespiteLostMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Inject(guardtest.Fault{Op: guardtest.OpStop, Times: 30})
		result := make(chan error, 1)
		go func() { result <- g.Do(t.Context(), "k", untilDone) }()
		synctest.Wait()
		began := time.Now()
		must(t, store.Revoke("k", ""))
		wantError(t, <-result, guard.ErrRevoked)
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

func TestNestedRunsAreRevokedWithTheRunAroundThem(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		time.AfterFunc(time.Second, func() { noError(t, store.Revoke("k", "")) })
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			wantError(t, g.Do(ctx, "k", untilDone), guard.ErrRevoked)
			free := context.WithoutCancel(ctx) // goes on under the lease, which is still held
			wantError(t, g.Do(free, "k", untilDone), guard.ErrRevoked)
			return nil
		})
		wantError(t, err, guard.ErrRevoked)
	})
}

func TestBrokenLeaseIsLostAndTheNextBeginsAtOnceWithAHigherToken(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		var told ending
		var fence atomic.Int64
		result := make(chan error, 1)
		go func() {
			result <- a.Do(t.Context(), "k", func(ctx context.Context) error {
				token, _ := guard.Fence(ctx)
				fence.Store(token)
				return told.await(ctx)
			})
		}()
		time.Sleep(time.Second)
		next := make(chan time.Time, 1)
		go func() {
			noError(t, b.Do(t.Context(), "k", func(ctx context.Context) error {
				next <- time.Now()
				if own, _ := guard.Fence(ctx); own <= fence.Load() {
					t.Errorf("token %d after %d", own, fence.Load())
				}
				return nil
			}))
		}()
		time.Sleep(time.Second)
		asked := time.Now()
		store.Break("k")
		wantError(t, <-result, guard.ErrLost)
		wantError(t, told.why, guard.ErrLost)
		if !told.at.Equal(asked) || !(<-next).Equal(asked) {
			t.Error("the loss or the next run came later than Break")
		}
	})
}

func TestRevokedLeaderCampaignsAgain(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var leader atomic.Value
		lead := func(g *guard.Guard, name string) {
			_ = g.Lead(ctx, "k", func(ctx context.Context) error {
				leader.Store(name)
				<-ctx.Done()
				return nil
			})
		}
		go lead(a, "a")
		time.Sleep(time.Second)
		go lead(b, "b")
		time.Sleep(time.Second)
		for _, want := range []string{"b", "a", "b"} {
			must(t, store.Revoke("k", "rest"))
			time.Sleep(time.Second)
			if leader.Load() != want {
				t.Fatalf("%s leads, want %s", leader.Load(), want)
			}
		}
	})
}

// reports keeps the ends of runs.
type reports struct {
	guard.ObserverDefaults
	ends []guard.RunEnd
}

func (r *reports) RunEnd(_ context.Context, e guard.RunEnd) { r.ends = append(r.ends, e) }

func TestObserversHearOfARevocationAtTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		var seen reports
		g = g.With(guard.Observe(&seen))
		time.AfterFunc(time.Second, func() { noError(t, store.Revoke("k", "")) })
		wantError(t, g.Do(t.Context(), "k", untilDone), guard.ErrRevoked)
		if len(seen.ends) != 1 || seen.ends[0].Lost != guard.LostRevoked || seen.ends[0].Release != guard.ReleaseDone {
			t.Errorf("observers saw %+v", seen.ends)
		}
	})
}
