package queue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/internal/engine/keep"
)

// queue has n callers wait for "k", and returns where their holds arrive.
func queue(t testing.TB, e *Engine, n int, opt Options) <-chan *keep.Hold {
	holds := make(chan *keep.Hold, n)
	for range n {
		go func() {
			h, _, f := e.Acquire(context.Background(), "k", opt)
			if f != nil {
				t.Error(f)
				return
			}
			holds <- h
		}()
	}
	synctest.Wait()
	return holds
}

func TestWithoutATokenLeftTheKeyIsNotHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		e, other := New(s), New(s)
		first := mustAcquire(t, e, usual) // alone, so it asked for one token
		second := queue(t, e, 1, usual)
		token := first.Fence
		first.End()
		h := <-second
		if n := s.Calls(guardtest.OpAcquire); n != 2 {
			t.Errorf("%d acquires for two runs with one token each", n)
		}
		third := queue(t, other, 1, usual)
		if h.Fence <= token {
			t.Errorf("token %d after %d", h.Fence, token)
		}
		token = h.Fence
		h.End()
		h = <-third
		if h.Fence <= token {
			t.Errorf("another process: token %d after %d", h.Fence, token)
		}
		h.End()
		closeEngine(t, e)
		closeEngine(t, other)
	})
}

func TestARunDoesNotBeginOnTheEdgeOfTrust(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *strict, e *Engine) {
		opt := Options{Terms: &keep.Terms{TTL: 50 * time.Millisecond, Margin: 24 * time.Millisecond}, Wait: Forever}
		first := mustAcquire(t, e, opt)
		holds := queue(t, e, 3, opt)
		first.End() // three wait: the next lease has tokens for all
		for range 3 {
			h := <-holds
			if left := h.TrustLeft(); left < opt.TTL/2 {
				t.Errorf("begins with %v of trust, TTL %v", left, opt.TTL)
			}
			time.Sleep(3 * time.Millisecond)
			h.End()
		}
	})
}

func TestALostLeaseIsNotHandedOver(t *testing.T) {
	inBubble(t, func(t *testing.T, s *strict, e *Engine) {
		first := mustAcquire(t, e, usual)
		holds := queue(t, e, 2, usual)
		first.End()
		h := <-holds // it has tokens for the one that waits
		s.Delay(2 * time.Millisecond)
		s.Expire("k")
		_ = h.Ensure(context.Background(), usual.TTL)
		if h.Live() {
			t.Fatal("not lost")
		}
		h.End()
		h = <-holds
		if owner, _ := s.Holder("k"); !h.Live() || owner != h.Owner() {
			t.Errorf("live %v under %q, held by %q", h.Live(), h.Owner(), owner)
		}
		h.End()
	})
}

// A wake-up may begin the next lease before the release of the last is answered.
func TestACallerUnderALeaseBegunOnAWakeUpKeepsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		e, other := New(s), New(s)
		first := mustAcquire(t, e, usual)
		next := queue(t, e, 1, usual)
		time.Sleep(50 * time.Millisecond)
		first.End()
		held := <-next
		here := queue(t, e, 1, usual)
		time.Sleep(time.Second)
		there := queue(t, other, 1, usual)
		held.End()
		select {
		case h := <-here:
			h.End()
			(<-there).End()
		case h := <-there:
			t.Error("the process that came a second later was served first")
			h.End()
			(<-here).End()
		}
		closeEngine(t, e)
		closeEngine(t, other)
	})
}
