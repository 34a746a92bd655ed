package queue

import (
	"context"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine/keep"
)

func TestAHoldThatHasEndedReportsAndEndsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *strict, e *Engine) {
		first := mustAcquire(t, e, usual)
		holds := queue(t, e, 3, usual)
		first.End()
		h := <-holds
		h.Bind(listen(func(ev keep.Event) { t.Errorf("event %+v after the end", ev) }), true)
		h.End() // handed over: the lease goes on
		next := <-holds
		if next.Owner() != h.Owner() {
			t.Fatal("not handed over")
		}
		h.StopRenewing() // MaxHold's timer, too late
		if h.Share() || h.Live() || h.TrustLeft() != 0 {
			t.Error("the hold is alive after its end")
		}
		time.Sleep(time.Minute)
		if lost := next.End(); lost != nil {
			t.Errorf("the next run lost its lease: %v", lost)
		}
		(<-holds).End()
	})
}

func TestAttemptsForTheKeyAreCountedWhileACallerWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *strict, e *Engine) {
		first, seen, _ := e.Acquire(t.Context(), "k", usual)
		if seen.Attempts != 1 {
			t.Errorf("%d attempts for a free key, want 1", seen.Attempts)
		}
		once := usual
		once.Wait = 0
		if _, _, f := e.Acquire(context.Background(), "k", once); f == nil || f.RetryAfter != usual.TTL {
			t.Errorf("trying once: %+v, want a lease that expires in %v", f, usual.TTL)
		}
		time.AfterFunc(time.Second, func() { first.End() })
		h, seen, f := e.Acquire(t.Context(), "k", usual)
		if f != nil || seen.Attempts != 1 { // one to join the queue; the wake-up was enough
			t.Fatalf("%+v after %d attempts, want a hold after 1", f, seen.Attempts)
		}
		defer h.End()
		short := usual
		short.Wait = time.Second
		if _, seen, f := e.Acquire(t.Context(), "k", short); f == nil || seen.Attempts != 1 {
			t.Errorf("%+v after %d attempts, want 1 in vain", f, seen.Attempts)
		}
	})
}
