package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestBindToALostLeaseTellsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		e := New(s)
		h := mustAcquire(t, e, usual)
		s.Expire("k")
		_ = h.Ensure(context.Background(), usual.TTL)
		told := false
		h.Bind(onLost(func(lost *Lost) { told = lost != nil && lost.Reason == ReasonNotOwner }))
		if !told {
			t.Error("not told of a loss before Bind")
		}
		if h.Share() {
			t.Error("a nested run may share a lost lease")
		}
		h.End()
		closeEngine(t, e)
	})
}

func TestAHoldThatHasEndedTellsAndEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(newStrict(t))
		first := mustAcquire(t, e, usual)
		holds := queue(t, e, 3, usual)
		first.End()
		h := <-holds
		h.Notify(listen(func(ev Event) { t.Errorf("told %+v after the end", ev) }))
		h.End() // handed on: the tenure goes on
		next := <-holds
		if next.t != h.t {
			t.Fatal("not handed on")
		}
		h.tell(Event{Kind: EventRenewed})
		h.StopRenewing() // MaxHold's timer, too late
		if h.Share() || h.Live() || h.TrustLeft() != 0 {
			t.Error("the hold is alive after its end")
		}
		time.Sleep(time.Minute)
		if lost := next.End(); lost != nil {
			t.Errorf("the next run lost its lease: %v", lost)
		}
		(<-holds).End()
		closeEngine(t, e)
	})
}

func TestHoldTellsHowItCameAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		e := New(s)
		first := mustAcquire(t, e, usual)
		once := usual
		once.Wait = 0
		if _, f := e.Acquire(context.Background(), "k", once); f == nil || f.RetryAfter != usual.TTL {
			t.Errorf("trying once: %+v, want a lease that expires in %v", f, usual.TTL)
		}
		holds := queue(t, e, 1, usual)
		time.Sleep(time.Second)
		first.End()
		h := <-holds
		if h.Attempts != 2 || first.Attempts != 1 { // one to stand in line, one that was granted
			t.Errorf("%d attempts, the first %d, want 2 and 1", h.Attempts, first.Attempts)
		}
		h.End()
		closeEngine(t, e)
	})
}

// boundFunc is a Bound that calls a function.
type boundFunc struct{ told func(*Lost) }

func (b *boundFunc) Lost(_ *Hold, why *Lost) { b.told(why) }

func onLost(told func(*Lost)) Bound { return &boundFunc{told} }

// listenerFunc is a Listener that calls a function.
type listenerFunc struct{ told func(Event) }

func (l *listenerFunc) Happened(_ *Hold, ev Event) { l.told(ev) }

func listen(told func(Event)) Listener { return &listenerFunc{told} }
