package guard_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestWaiterLearnsTheHoldersMetadata(t *testing.T) {
	for name, elsewhere := range map[string]bool{"another process": true, "the same process": false} {
		t.Run(name, func(t *testing.T) {
			inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
				if !elsewhere {
					b = a
				}
				first, second := &recorder{text: "of the holder"}, &recorder{text: "of the waiter"}
				end, _ := hold(t, a.With(guard.Observe(first)), "k")
				time.AfterFunc(time.Second, end)
				waiter := b.With(guard.Observe(second))
				refused, granted := waiter.With(guard.Wait(0)).Do(t.Context(), "k", nothing), waiter.Do(t.Context(), "k", nothing)
				if e := first.acquired[0]; e.Contended || e.HolderMetadata != "" {
					t.Errorf("the holder got %+v, though the key was free", e)
				}
				for i, err := range []error{refused, granted} {
					e := second.acquired[i]
					if !e.Contended || e.Holder == "" || e.HolderMetadata != "of the holder" || (e.Err != nil) != (i == 0) || (err != nil) != (i == 0) {
						t.Errorf("the waiter got %+v and %v", e, err)
					}
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

func TestRunStartHasTheMetadataThatWasSent(t *testing.T) {
	obs := &recorder{text: "sent"}
	g := newGuard(t, guardtest.NewStore(), guard.Observe(obs))
	err := g.Do(t.Context(), "a", func(ctx context.Context) error {
		return g.DoAll(ctx, []string{"a", "b", "c"}, nothing)
	})
	must(t, err)
	if c := obs.started[0].Metadata; len(c) != 1 || c[0] != "sent" {
		t.Errorf("Do: %q", c)
	}
	if c := obs.started[1].Metadata; len(c) != 3 || c[0] != "" || c[1] != "sent" || c[2] != "sent" {
		t.Errorf("DoAll within: %q, want none for the key of the run around it", c)
	}
}
