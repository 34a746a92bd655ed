package guard_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestAcquireEndNamesTheHolderWhenTheKeyWasGranted(t *testing.T) {
	for name, elsewhere := range map[string]bool{"another process": true, "the same process": false} {
		t.Run(name, func(t *testing.T) {
			inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
				if !elsewhere {
					b = a
				}
				first, second := &recorder{text: "of the holder"}, &recorder{text: "of the waiter"}
				end, _ := hold(t, a.With(guard.Observe(first)), "k")
				time.AfterFunc(time.Second, end)
				noError(t, b.With(guard.Observe(second)).Do(t.Context(), "k", nothing))
				if e := first.acquired[0]; e.Contended || e.HolderMetadata != "" {
					t.Errorf("the holder got %+v, though the key was free", e)
				}
				if e := second.acquired[0]; !e.Contended || e.Holder == "" || e.HolderMetadata != "of the holder" || e.Err != nil {
					t.Errorf("the waiter got %+v", e)
				}
			})
		})
	}
}

func TestAcquireEndNamesTheHolderOfASimultaneousCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		store.Delay(10 * time.Millisecond)
		g := newGuard(t, store)
		slow := func(context.Context) error { time.Sleep(time.Second); return nil }
		first, second := &recorder{text: "of the holder"}, &recorder{}
		done := make(chan error, 1)
		go func() { done <- g.With(guard.Observe(first)).Do(t.Context(), "k", slow) }()
		time.Sleep(time.Millisecond) // the first has asked, and has no answer yet
		noError(t, g.With(guard.Observe(second)).Do(t.Context(), "k", nothing))
		if e := second.acquired[0]; !e.Contended || e.HolderMetadata != "of the holder" {
			t.Errorf("got %+v", e)
		}
		noError(t, <-done)
	})
}

// sentAlong remembers each RunStart.
type sentAlong struct {
	recorder
	runs []guard.RunStart
}

func (s *sentAlong) RunStart(ctx context.Context, r guard.RunStart) context.Context {
	s.runs = append(s.runs, r)
	return ctx
}

func TestRunStartHasTheMetadataThatWasSent(t *testing.T) {
	obs := &sentAlong{recorder: recorder{text: "sent"}}
	g := newGuard(t, guardtest.NewStore(), guard.Observe(obs))
	err := g.Do(t.Context(), "a", func(ctx context.Context) error {
		return g.DoAll(ctx, []string{"a", "b", "c"}, nothing)
	})
	must(t, err)
	if c := obs.runs[0].Metadata; len(c) != 1 || c[0] != "sent" {
		t.Errorf("Do: %q", c)
	}
	if c := obs.runs[1].Metadata; len(c) != 3 || c[0] != "" || c[1] != "sent" || c[2] != "sent" {
		t.Errorf("DoAll within: %q, want none for the key of the run around it", c)
	}
}

func TestAcquireEndNamesTheHolderInTheSameProcess(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		first, second := &recorder{text: "of the holder"}, &recorder{}
		end, _ := hold(t, g.With(guard.Observe(first)), "k")
		_ = g.With(guard.Observe(second), guard.Wait(0)).Do(t.Context(), "k", nothing)
		if e := second.acquired[0]; !e.Contended || e.HolderMetadata != "of the holder" || e.Err == nil {
			t.Errorf("got %+v", e)
		}
		end()
	})
}

// asked is a recorder that keeps the beginnings of acquires.
type asked struct {
	recorder
	starts []guard.AcquireStart
	ctxErr []error // of the contexts at each end
}

func (a *asked) AcquireStart(ctx context.Context, s guard.AcquireStart) context.Context {
	a.starts = append(a.starts, s)
	return a.recorder.AcquireStart(ctx, s)
}

func (a *asked) AcquireEnd(ctx context.Context, e guard.AcquireEnd) {
	a.ctxErr = append(a.ctxErr, ctx.Err())
	a.recorder.AcquireEnd(ctx, e)
}

func (a *asked) keys() (keys []string) {
	for _, s := range a.starts {
		keys = append(keys, s.Key)
	}
	return keys
}

func TestLostEarlyKeyOfASetEndsNoOtherAcquire(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		obs := &asked{}
		release, _ := hold(t, b, "b")
		time.AfterFunc(time.Minute, release)
		time.AfterFunc(10*time.Second, func() { store.Expire("a") })
		if err := a.With(guard.Observe(obs)).DoAll(t.Context(), []string{"a", "b"}, nothing); err != nil {
			t.Fatal(err)
		}
		if got := obs.keys(); !slices.Equal(got, []string{"a", "b", "a"}) {
			t.Errorf("acquires of %v", got)
		}
		for i, e := range obs.acquired {
			if e.Err != nil || obs.ctxErr[i] != nil {
				t.Errorf("%s: %v, context %v", e.Key, e.Err, obs.ctxErr[i])
			}
		}
	})
}
