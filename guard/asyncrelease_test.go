package guard_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

const releaseTime = time.Second / 2

// slowRelease runs f in a bubble with a guard of AsyncRelease whose store takes
// releaseTime for each release, and an observer.
func slowRelease(t *testing.T, f func(t *testing.T, store *guardtest.Store, g *guard.Guard, rec *recorder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store, rec := guardtest.NewStore(), new(recorder)
		g := newGuard(t, slowToRelease{store}, guard.AsyncRelease(), guard.Observe(rec), guard.TTL(time.Minute))
		f(t, store, g, rec)
		must(t, g.Shutdown(t.Context()))
		noneLeft(t, store)
		if n := guard.Left(g); n != 0 {
			t.Errorf("%d left after Shutdown", n)
		}
		synctest.Wait()
		if len(rec.started) != len(rec.runEnds()) {
			t.Errorf("%d run starts, %d run ends", len(rec.started), len(rec.runEnds()))
		}
	})
}

func TestAsyncReleaseReturnsBeforeTheStoreAnswers(t *testing.T) {
	slowRelease(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard, rec *recorder) {
		boom := errors.New("boom")
		began := time.Now()
		var inside context.Context
		err := g.Do(t.Context(), "k", func(ctx context.Context) error { inside = ctx; return boom }) //nolint:fatcontext // looked at afterwards
		if took := time.Since(began); took != 0 || err != boom {
			t.Errorf("Do() = %v after %v, want fn's error at once", err, took)
		}
		if inside.Err() == nil {
			t.Error("fn's context goes on after the call")
		}
		if _, held := store.Holder("k"); !held || len(rec.runEnds()) != 0 {
			t.Error("the release was answered before the call returned")
		}
		must(t, g.Shutdown(t.Context()))
		if took := time.Since(began); took != releaseTime {
			t.Errorf("Shutdown returned after %v, want the answer of the release after %v", took, releaseTime)
		}
		if rec.runEnds()[0].Release != guard.ReleaseDone || rec.runEnds()[0].Err != boom {
			t.Errorf("run end %+v", rec.runEnds()[0])
		}
	})
}

func TestAsyncReleaseDoesNotRefuseTheNextCallerOfTheProcess(t *testing.T) {
	slowRelease(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard, _ *recorder) {
		began := time.Now()
		must(t, g.Do(t.Context(), "k", nothing))
		must(t, g.With(guard.Wait(0)).Do(t.Context(), "k", nothing))
		if took := time.Since(began); took != releaseTime {
			t.Errorf("the second run was over after %v, want just after the release, %v", took, releaseTime)
		}
	})
}

func TestAsyncReleaseTellsObserversWhatCameOfIt(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*guardtest.Store)
		want  guard.ReleaseResult
		lost  guard.LossReason
	}{
		"lost": {func(s *guardtest.Store) { s.Expire("k") }, guard.ReleaseLost, guard.LostNotOwner},
		"failed": {func(s *guardtest.Store) {
			s.Inject(guardtest.Fault{Op: guardtest.OpRelease, Err: errors.New("down"), Times: 2})
		}, guard.ReleaseFailed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			slowRelease(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard, rec *recorder) {
				must(t, g.Do(t.Context(), "k", func(context.Context) error { tt.spoil(store); return nil }))
				time.Sleep(time.Minute)
				synctest.Wait()
				if e := rec.runEnds()[0]; e.Release != tt.want || e.Lost != tt.lost || e.Err != nil {
					t.Errorf("run end %+v, want release %q, lost %q and the call's nil", e, tt.want, tt.lost)
				}
			})
		})
	}
}

func TestAsyncReleaseReturnsALossThatIsKnown(t *testing.T) {
	slowRelease(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard, rec *recorder) {
		wantError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Expire("k")
			return untilDone(ctx)
		}), guard.ErrLost)
		if len(rec.runEnds()) != 1 || rec.runEnds()[0].Lost != guard.LostNotOwner {
			t.Errorf("run ends %+v", rec.runEnds())
		}
		wantError(t, g.With(guard.MaxHold(time.Second)).Do(t.Context(), "k", untilDone), guard.ErrMaxHold)
		wantError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
			return g.With(guard.MaxHold(time.Second)).Do(ctx, "k", untilDone)
		}), guard.ErrMaxHold)
	})
}

func TestAsyncReleaseOfSeveralKeysReportsOnce(t *testing.T) {
	slowRelease(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard, rec *recorder) {
		began := time.Now()
		must(t, g.Do(t.Context(), "a", func(ctx context.Context) error {
			return g.DoAll(ctx, []string{"a", "b", "c"}, func(context.Context) error { store.Expire("c"); return nil })
		}))
		if took := time.Since(began); took != 0 {
			t.Errorf("returned after %v", took)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(rec.runEnds()); n != 2 {
			t.Fatalf("%d run ends, want 2", n)
		}
		i := slices.IndexFunc(rec.runEnds(), func(e guard.RunEnd) bool { return len(e.Keys) == 3 })
		if e := rec.runEnds()[i]; e.Release != guard.ReleaseLost || e.Lost != guard.LostNotOwner {
			t.Errorf("run end %+v", e)
		}
	})
}

func TestAsyncReleaseWaitsForItsOwnBeyondThoseUnderWay(t *testing.T) {
	slowRelease(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard, _ *recorder) {
		const underWay = 256
		began := time.Now()
		for i := range underWay {
			must(t, g.Do(t.Context(), fmt.Sprint(i), nothing))
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("%d calls took %v", underWay, took)
		}
		must(t, g.Do(t.Context(), "one more", nothing))
		if took := time.Since(began); took != releaseTime {
			t.Errorf("one more took %v, want its own release, %v", took, releaseTime)
		}
	})
}

func TestAsyncReleaseOfARunThatPanicsIsAwaited(t *testing.T) {
	slowRelease(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard, _ *recorder) {
		if p := recovered(func() { _ = g.Do(t.Context(), "k", func(context.Context) error { panic("boom") }) }); p != "boom" {
			t.Errorf("recovered %v", p)
		}
		noneLeft(t, store)
	})
}

func TestAsyncReleaseKeepsTheKeyClosedForMinHold(t *testing.T) {
	slowRelease(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard, _ *recorder) {
		must(t, g.With(guard.MinHold(10*time.Second)).Do(t.Context(), "k", nothing))
		time.Sleep(9 * time.Second)
		if _, held := store.Holder("k"); !held {
			t.Error("the key is free before MinHold has passed")
		}
		time.Sleep(2 * time.Second)
		noneLeft(t, store)
	})
}

// slowToRelease is a store whose releases take releaseTime to get there.
type slowToRelease struct{ *guardtest.Store }

func (s slowToRelease) Release(ctx context.Context, r lease.ReleaseRequest) (lease.ReleaseReply, error) {
	time.Sleep(releaseTime)
	return s.Store.Release(ctx, r)
}
