package keep

import (
	"context"
	"testing"

	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestBindToALostLeaseCallsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *guardtest.Store, k *Keeper) {
		h := mustAcquire(t, k, usual)
		s.Expire("k")
		_ = h.Ensure(context.Background(), usual.TTL)
		called := false
		h.Bind(onLost(func(lost *Lost) { called = lost != nil && lost.Reason == NotOwner }), false)
		if !called {
			t.Error("not called for a loss before Bind")
		}
		if h.Share() {
			t.Error("a nested run may share a lost lease")
		}
		h.End()
	})
}

// listenerFunc is a Listener that calls functions; nil for none.
type listenerFunc struct {
	lost  func(*Lost)
	event func(Event)
}

func (l *listenerFunc) Lost(_ *Hold, why *Lost) {
	if l.lost != nil {
		l.lost(why)
	}
}

func (l *listenerFunc) Happened(_ *Hold, ev Event) { l.event(ev) }

func onLost(f func(*Lost)) Listener { return &listenerFunc{lost: f} }

func listen(f func(Event)) Listener { return &listenerFunc{event: f} }
