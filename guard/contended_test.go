package guard_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestWhoeverWaitedLearnsBehindWhomAlsoWhenItGetsTheKey(t *testing.T) {
	for name, elsewhere := range map[string]bool{"another process": true, "the same process": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a, b := twoProcesses(t)
				if !elsewhere {
					b = a
				}
				first, second := &recorder{text: "of the holder"}, &recorder{text: "of the waiter"}
				end, _ := hold(t, a.With(guard.Observe(first)), "k")
				time.AfterFunc(time.Second, end)
				if err := b.With(guard.Observe(second)).Do(t.Context(), "k", nothing); err != nil {
					t.Error(err)
				}
				if e := first.acquired[0]; e.Contended || e.HolderMetadata != "" {
					t.Errorf("the holder was told %+v, though the key was free", e)
				}
				if e := second.acquired[0]; !e.Contended || e.Holder == "" || e.HolderMetadata != "of the holder" || e.Err != nil {
					t.Errorf("the waiter was told %+v", e)
				}
			})
		})
	}
}

func TestWhoeverComesSecondAtTheSameMomentLearnsBehindWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		store.Delay(10 * time.Millisecond)
		g := newGuard(t, store)
		slow := func(context.Context) error { time.Sleep(time.Second); return nil }
		first, second := &recorder{text: "of the holder"}, &recorder{}
		done := make(chan error, 1)
		go func() { done <- g.With(guard.Observe(first)).Do(t.Context(), "k", slow) }()
		time.Sleep(time.Millisecond) // the first has asked, and has no answer yet
		if err := g.With(guard.Observe(second)).Do(t.Context(), "k", nothing); err != nil {
			t.Error(err)
		}
		if e := second.acquired[0]; !e.Contended || e.HolderMetadata != "of the holder" {
			t.Errorf("told %+v", e)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
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

func TestRunStartTellsWhatWasSentAlong(t *testing.T) {
	obs := &sentAlong{recorder: recorder{text: "sent"}}
	g := newGuard(t, guardtest.NewStore(), guard.Observe(obs))
	err := g.Do(t.Context(), "a", func(ctx context.Context) error {
		return g.DoAll(ctx, []string{"a", "b", "c"}, nothing)
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := obs.runs[0].Metadata; len(c) != 1 || c[0] != "sent" {
		t.Errorf("Do: %q", c)
	}
	if c := obs.runs[1].Metadata; len(c) != 3 || c[0] != "" || c[1] != "sent" || c[2] != "sent" {
		t.Errorf("DoAll within: %q, want none for the key of the run around it", c)
	}
}

func TestLossIsObservedWithItsReason(t *testing.T) {
	for reason, lose := range map[guard.LossReason]func(*guardtest.Store){
		guard.LostNotOwner: func(s *guardtest.Store) { s.Hold("k", "thief") },
		guard.LostExpired:  func(s *guardtest.Store) { s.Fail(context.DeadlineExceeded) },
		guard.LostMaxHold:  func(*guardtest.Store) {},
	} {
		t.Run(string(reason), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				obs := &recorder{}
				g := newGuard(t, store, guard.Observe(obs), guard.MaxHold(time.Minute))
				_ = g.Do(t.Context(), "k", func(ctx context.Context) error {
					lose(store)
					<-ctx.Done()
					return nil
				})
				store.Fail(nil)
				_ = g.Shutdown(t.Context())
				for _, e := range obs.events {
					if e.Kind == guard.EventLost && e.Reason == reason {
						return
					}
				}
				t.Errorf("saw %+v", obs.events)
			})
		})
	}
}

func TestWhoeverIsRefusedInTheSameProcessLearnsBehindWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guardtest.NewStore())
		first, second := &recorder{text: "of the holder"}, &recorder{}
		end, _ := hold(t, g.With(guard.Observe(first)), "k")
		_ = g.With(guard.Observe(second), guard.Wait(0)).Do(t.Context(), "k", nothing)
		if e := second.acquired[0]; !e.Contended || e.HolderMetadata != "of the holder" || e.Err == nil {
			t.Errorf("told %+v", e)
		}
		end()
	})
}
