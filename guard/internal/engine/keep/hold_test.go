package keep

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestBindToALostLeaseTellsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := guardtest.NewStore()
		k := New(s)
		h := mustAcquire(t, k, usual)
		s.Expire("k")
		_ = h.Ensure(context.Background(), usual.TTL)
		told := false
		h.Bind(onLost(func(lost *Lost) { told = lost != nil && lost.Reason == NotOwner }), false)
		if !told {
			t.Error("not told of a loss before Bind")
		}
		if h.Share() {
			t.Error("a nested run may share a lost lease")
		}
		h.End()
		drain(t, k)
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
