package queue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/lease"
)

// mustAcquire returns a hold of "k".
func mustAcquire(t testing.TB, e *Engine, opt Options) *keep.Hold {
	t.Helper()
	h, _, f := e.Acquire(context.Background(), "k", opt)
	if f != nil {
		t.Fatal(f)
	}
	return h
}

// late answers its first Acquire long after the deadline, as if the process had
// been stopped between the reply and its reader.
type late struct {
	*guardtest.Store
	by time.Duration
}

func (s *late) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	reply, err := s.Store.Acquire(ctx, r)
	time.Sleep(s.by)
	s.by = 0
	return reply, err
}

func TestGrantWhoseTrustIsSpentIsNotHandedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(&late{Store: guardtest.NewStore(), by: usual.TTL - usual.Margin})
		h := mustAcquire(t, e, usual)
		if !h.Live() || h.TrustLeft() != usual.TTL-usual.Margin {
			t.Errorf("live %v, trusted for %v", h.Live(), h.TrustLeft())
		}
		noLoss(t, h.End())
		closeEngine(t, e)
	})
}

func TestGrantForAWaiterThatLeftIsNotTrustedForAnotherTTL(t *testing.T) {
	inBubble(t, func(t *testing.T, s *strict, e *Engine) {
		s.HoldFor("k", "other", time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			short := Options{Terms: &keep.Terms{TTL: time.Second, Margin: 100 * time.Millisecond}, Wait: Forever}
			if _, _, f := e.Acquire(ctx, "k", short); f == nil {
				t.Error("the waiter that left got the key")
			}
		}()
		synctest.Wait()
		go func() {
			s.Delay(100 * time.Millisecond)
			for n := s.Calls(guardtest.OpAcquire); s.Calls(guardtest.OpAcquire) == n; {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(10 * time.Millisecond)
			cancel() // it is first in the queue, and its attempt is under way
		}()
		h := mustAcquire(t, e, usual)
		if left := s.Remaining("k"); h.TrustLeft() > left {
			t.Errorf("trusted for %v, the store keeps it for %v", h.TrustLeft(), left)
		}
		s.Delay(0)
		h.End()
	})
}
