package queue

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/lease"
)

// cut is one process's way to a store; it can be cut off.
type cut struct {
	*guardtest.Store
	off atomic.Bool
}

func (s *cut) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	if s.off.Load() {
		return lease.AcquireReply{}, errors.New("cut off")
	}
	return s.Store.Acquire(ctx, r)
}

func (s *cut) Watch(owner string, w lease.Waker) {
	s.Store.Watch(owner, lease.WakeFunc(func(g lease.Grant) bool { return !s.off.Load() && w.Woken(g) }))
}

func TestProcessWhoseGrantLapsedReturnsToItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := guardtest.NewStore()
		first := &cut{Store: s}
		engines := []*Engine{New(first), New(s), New(s), New(s)}
		holder := mustAcquire(t, engines[3], usual)
		var waiting [3]<-chan *keep.Hold
		for i := range waiting {
			waiting[i] = queue(t, engines[i], 1, usual)
		}
		first.off.Store(true)
		holder.End()
		second := <-waiting[1] // the grant to the first has lapsed
		first.off.Store(false)
		time.Sleep(3 * time.Second)
		second.End()
		select {
		case h := <-waiting[0]:
			h.End()
			(<-waiting[2]).End()
		case h := <-waiting[2]:
			t.Error("the third was served before the first")
			h.End()
			(<-waiting[0]).End()
		}
		for _, e := range engines {
			closeEngine(t, e)
		}
	})
}

func TestCrashedWaiterBlocksForItsTTLAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := guardtest.NewStore()
		crashed := &cut{Store: s}
		opt := Options{Terms: &keep.Terms{TTL: 300 * time.Millisecond, Margin: 30 * time.Millisecond}, Wait: Forever}
		engines := []*Engine{New(crashed), New(s), New(s)}
		holder := mustAcquire(t, engines[2], usual)
		gone := make(chan *Failure)
		go func() {
			_, _, f := engines[0].Acquire(context.Background(), "k", opt)
			gone <- f
		}()
		synctest.Wait()
		second := queue(t, engines[1], 1, usual)
		crashed.off.Store(true) // it is granted the key, and neither asks nor starts
		start := time.Now()
		holder.End()
		h := <-second
		if d := time.Since(start); d > opt.TTL+pollCap+pollCap/16 {
			t.Errorf("blocked for %v, want the TTL and a poll", d)
		}
		h.End()
		if f := <-gone; f == nil {
			t.Error("the crashed waiter was served")
		}
		for _, e := range engines {
			closeEngine(t, e)
		}
	})
}
