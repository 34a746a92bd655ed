package queue

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/lease"
)

func limited(n lease.Limit, wait time.Duration) Options {
	return Options{Terms: &keep.Terms{TTL: 10 * time.Second, Margin: time.Second, Limit: n}, Wait: wait}
}

func TestCallersUnderALimitHaveOnePlaceInTheStoreAndAreServedInOrder(t *testing.T) {
	for name, limit := range map[string]lease.Limit{"Limit(1)": 1, "Limit(2)": 2, "Shared": lease.Shared} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStrict(t)
				holder, e := New(s), New(s)
				writer := mustAcquire(t, holder, usual)
				order := make(chan int, 5)
				for i := range 5 {
					go func() {
						h, _, f := e.Acquire(context.Background(), "k", limited(limit, Forever))
						if f != nil {
							t.Errorf("caller %d: %+v", i, f)
							return
						}
						order <- i
						time.Sleep(time.Second)
						h.End()
					}()
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(time.Minute)
				if n := s.Waiting("k"); n != 1 {
					t.Errorf("%d places in the store's queue", n)
				}
				writer.End()
				time.Sleep(time.Minute)
				var served []int
				for range 5 {
					served = append(served, <-order)
				}
				if limit != 1 { // several at the same time
					slices.Sort(served)
				}
				if !slices.Equal(served, []int{0, 1, 2, 3, 4}) {
					t.Errorf("served in the order %v", served)
				}
				closeEngine(t, e)
				closeEngine(t, holder)
			})
		})
	}
}

func TestCallersThatFitTogetherDoNotWaitForEachOther(t *testing.T) {
	for _, delay := range []time.Duration{10 * time.Millisecond, 300 * time.Millisecond} { // near, and not
		synctest.Test(t, func(t *testing.T) {
			s := newStrict(t)
			e := New(s)
			s.Delay(delay)
			mustAcquire(t, e, limited(lease.Shared, Forever)).End() // learns the round trip
			start := time.Now()
			results := make(chan *keep.Hold)
			for range 8 {
				go func() {
					h, _, _ := e.Acquire(context.Background(), "k", limited(lease.Shared, Forever))
					results <- h
				}()
			}
			var holds []*keep.Hold
			for range 8 {
				holds = append(holds, <-results)
				if took := time.Since(start); took > delay {
					t.Errorf("granted after %v, over a link of %v", took, delay)
				}
			}
			for _, h := range holds {
				h.End()
			}
			synctest.Wait()
			if n := s.Waiting("k"); n != 0 {
				t.Errorf("%d places are left", n)
			}
		})
	}
}

func TestTrialThatComesTooLateGivesItsLeaseBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		e := New(s)
		s.Delay(50 * time.Millisecond)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan *keep.Hold)
		for range 4 {
			go func() {
				h, _, _ := e.Acquire(ctx, "k", limited(4, Forever))
				done <- h
			}()
		}
		time.Sleep(10 * time.Millisecond)
		cancel()
		for range 4 {
			if h := <-done; h != nil {
				t.Error("a cancelled caller began")
			}
		}
		s.Delay(0)
		time.Sleep(time.Second)
		if keys := s.Keys(); len(keys) != 0 {
			t.Errorf("%q is still held", keys)
		}
		closeEngine(t, e)
	})
}

func TestTriesBesideATrialAreRefusedWithTheHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		holder, e := New(s), New(s)
		h := mustAcquire(t, holder, usual)
		s.Delay(10 * time.Millisecond)
		failures := make(chan *Failure)
		for range 4 {
			go func() {
				_, _, f := e.Acquire(context.Background(), "k", limited(4, 0))
				failures <- f
			}()
		}
		for range 4 {
			if f := <-failures; f == nil || f.Kind != Busy || f.Holder != h.Owner() {
				t.Errorf("%+v, want busy and the holder", f)
			}
		}
		h.End()
		closeEngine(t, e)
		closeEngine(t, holder)
	})
}

func TestCallersUnderALimitHandThePermitOnForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		e := New(s)
		first := mustAcquire(t, e, limited(1, Forever))
		next := make(chan *keep.Hold, 1)
		go func() {
			h, _, _ := e.Acquire(context.Background(), "k", limited(1, Forever))
			next <- h
		}()
		time.Sleep(time.Millisecond)
		asked := s.Calls(guardtest.OpAcquire)
		first.End()
		h := <-next
		if h.Owner() != first.Owner() || h.Fence != 0 {
			t.Errorf("owner %q with token %d after %q, want the same lease and no token", h.Owner(), h.Fence, first.Owner())
		}
		synctest.Wait()
		if n := s.Calls(guardtest.OpAcquire); n != asked || s.Waiting("k") != 0 {
			t.Errorf("%d more acquires, %d places: the handoff needs none", n-asked, s.Waiting("k"))
		}
		h.End()
		closeEngine(t, e)
	})
}
