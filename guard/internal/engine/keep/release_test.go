package keep

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestAbandonedHoldDoesNotKeepTheKeyClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, s *guardtest.Store, k *Keeper) {
		opt := usual
		opt.MinHold = time.Hour
		mustAcquire(t, k, opt).Abandon()
		if owner, held := s.Holder("k"); held {
			t.Errorf("held by %q, though nothing ran", owner)
		}
	})
}

func TestCleanerGivesUpWhenTheLeaseHasExpired(t *testing.T) {
	inBubble(t, func(t *testing.T, s *guardtest.Store, k *Keeper) {
		s.Inject(guardtest.Fault{Op: guardtest.OpRelease, Err: errors.New("down")})
		mustAcquire(t, k, usual).End()
		var tries [3]int // after half a TTL, one, and an hour
		for i, d := range []time.Duration{usual.TTL / 2, usual.TTL / 2, time.Hour} {
			time.Sleep(d)
			tries[i] = s.Calls(guardtest.OpRelease)
		}
		if tries[1] == tries[0] || tries[2] > tries[1] {
			t.Errorf("%d tries in half a TTL, %d in one, %d in an hour, want none after the TTL", tries[0], tries[1], tries[2])
		}
	})
}

func TestCleanerEndsWithDrain(t *testing.T) {
	inBubble(t, func(t *testing.T, s *guardtest.Store, k *Keeper) {
		s.Inject(guardtest.Fault{Op: guardtest.OpRelease, Err: errors.New("down")})
		mustAcquire(t, k, usual).End()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start := time.Now()
		k.Drain(ctx)
		if d := time.Since(start); d != time.Second {
			t.Errorf("drained after %v with a cleaner at work", d)
		}
		n := s.Calls(guardtest.OpRelease)
		time.Sleep(time.Minute)
		if more := s.Calls(guardtest.OpRelease) - n; more > 1 {
			t.Errorf("%d attempts after Drain", more)
		}
	})
}

// slowRelease is a store that answers a release after wait, with a denial.
type slowRelease struct {
	*guardtest.Store
	wait time.Duration
}

func (s slowRelease) Release(context.Context, lease.ReleaseRequest) (lease.ReleaseReply, error) {
	time.Sleep(s.wait)
	return lease.ReleaseReply{}, nil
}

func TestLeaseThatExpiresWhileItsReleaseWaitsIsNotLost(t *testing.T) {
	for wait, lost := range map[time.Duration]bool{
		usual.TTL - usual.Margin - 1: true, // trust says that it was there
		usual.TTL - usual.Margin:     false,
	} {
		synctest.Test(t, func(t *testing.T) {
			k := New(slowRelease{guardtest.NewStore(), wait})
			h := mustAcquire(t, k, usual)
			if why := h.End(); (why != nil) != lost || (h.Released() == ReleaseLost) != lost {
				t.Errorf("denied after %v: %v, released %v", wait, why, h.Released())
			}
			drain(t, k)
		})
	}
}
