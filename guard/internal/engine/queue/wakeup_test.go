package queue

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/lease"
)

// handover has an engine hold "k" and another wait for it for age, and ends the
// hold. It returns the second engine's.
func handover(t *testing.T, s lease.Store, opt Options, age time.Duration) (h *keep.Hold, end func()) {
	t.Helper()
	holder, e := New(s), New(s)
	first := mustAcquire(t, holder, usual)
	holds := queue(t, e, 1, opt)
	time.Sleep(age)
	first.End()
	h = <-holds
	if h.Fence <= first.Fence {
		t.Errorf("token %d after %d", h.Fence, first.Fence)
	}
	return h, func() {
		h.End()
		closeEngine(t, e)
		closeEngine(t, holder)
	}
}

func TestAWokenWaiterStartsWithoutAskingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		opt := Options{Terms: &keep.Terms{TTL: 10 * time.Second, Margin: 100 * time.Millisecond}, Wait: Forever}
		before := runtime.NumGoroutine()
		h, end := handover(t, s, opt, 300*time.Millisecond)
		if n := s.Calls(guardtest.OpAcquire); n != 2 {
			t.Errorf("%d acquires: one to hold, one to join the queue, and %d more", n, n-2)
		}
		if left, want := h.TrustLeft(), reservationMax-opt.Margin; left != want {
			t.Errorf("%v of trust, want %v", left, want)
		}
		synctest.Wait()
		if n := runtime.NumGoroutine(); n > before {
			t.Errorf("%d goroutines while fn runs, %d before", n, before)
		}
		time.Sleep(time.Minute)
		if !h.Live() {
			t.Error("the lease did not last")
		}
		if n := s.Calls(guardtest.OpAcquire); n != 2 {
			t.Errorf("asked again after the start, %d times", n-2)
		}
		end()
	})
}

func TestTrustInAWakeUpEndsBeforeTheReservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		opt := Options{Terms: &keep.Terms{TTL: 10 * time.Second, Margin: 100 * time.Millisecond}, Wait: Forever}
		h, end := handover(t, s, opt, 400*time.Millisecond)
		began := time.Now()
		s.Inject(guardtest.Fault{Op: guardtest.OpRenew, Err: errors.New("cut off"), Times: 1000})
		lost := make(chan time.Duration, 1)
		h.Bind(onLost(func(*keep.Lost) { lost <- time.Since(began) }), false)
		if at, want := <-lost, reservationMax-opt.Margin; at != want {
			t.Errorf("lost after %v, want %v", at, want)
		}
		if left := s.Remaining("k"); left < opt.Margin {
			t.Errorf("the store's lease ended in %v, Margin %v", left, opt.Margin)
		}
		end()
	})
}

// The first renewal of a short lease shortens the reservation: trust must not rest on
// what is not there any more.
func TestTrustInAWakeUpSurvivesAShorterTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		opt := Options{Terms: &keep.Terms{TTL: 300 * time.Millisecond, Margin: 30 * time.Millisecond}, Wait: Forever}
		h, end := handover(t, s, opt, 0)
		if left, want := h.TrustLeft(), opt.TTL-opt.Margin; left != want {
			t.Errorf("%v of trust in a lease that lives %v", left, opt.TTL)
		}
		for s.Calls(guardtest.OpRenew) == 0 {
			time.Sleep(time.Millisecond)
		}
		s.Inject(guardtest.Fault{Op: guardtest.OpRenew, Err: errors.New("cut off"), Times: 1000})
		lost := make(chan struct{})
		h.Bind(onLost(func(*keep.Lost) { close(lost) }), false)
		<-lost
		if left := s.Remaining("k"); left < opt.Margin {
			t.Errorf("the store's lease ended in %v, Margin %v", left, opt.Margin)
		}
		end()
	})
}

func TestAWakeUpIsNotEnough(t *testing.T) {
	for sentence, c := range map[string]struct {
		opt     Options
		waiters int
	}{
		"when Margin takes most of the reservation": {Options{Terms: &keep.Terms{TTL: 20 * time.Second, Margin: 1600 * time.Millisecond}, Wait: Forever}, 1},
		"when several wait here":                    {usual, 2},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStrict(t)
				holder, e := New(s), New(s)
				first := mustAcquire(t, holder, Options{Terms: &keep.Terms{TTL: time.Minute, Margin: time.Second}})
				holds := queue(t, e, c.waiters, c.opt)
				asked := s.Calls(guardtest.OpAcquire)
				first.End()
				for range c.waiters {
					h := <-holds
					if left, want := h.TrustLeft(), c.opt.TTL-c.opt.Margin; left != want {
						t.Errorf("%v of trust, want the full %v", left, want)
					}
					h.End()
				}
				if n := s.Calls(guardtest.OpAcquire); n != asked+1 {
					t.Errorf("asked %d times after the wake-up", n-asked)
				}
				closeEngine(t, e)
				closeEngine(t, holder)
			})
		})
	}
}

// A wake-up that comes while a question is under way waits for its reply: two
// sources must not start two runs.
func TestAWakeUpDuringAQuestionStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		holder, e := New(s), New(s)
		first := mustAcquire(t, holder, usual)
		s.Delay(40 * time.Millisecond)
		holds := make(chan *keep.Hold, 1)
		go func() {
			h, _, f := e.Acquire(context.Background(), "k", usual)
			if f != nil {
				t.Error(f)
			}
			holds <- h
		}()
		asked := time.Now()
		time.Sleep(15 * time.Millisecond)
		first.End() // arrives just after the waiter's question, whose reply is on its way
		h := <-holds
		// The reply takes 40 ms; then, as it was woken meanwhile, it asks at once.
		if d := time.Since(asked); d != 80*time.Millisecond {
			t.Errorf("started %v after the question", d)
		}
		if left, most := h.TrustLeft(), usual.TTL-usual.Margin; left > most {
			t.Errorf("%v of trust, at most %v can be proven", left, most)
		}
		synctest.Wait()
		if n := e.Left(); n > 3 { // the queue, its renewal and its expiry
			t.Errorf("%d things are kept for a run", n)
		}
		h.End()
		s.Delay(0)
		closeEngine(t, e)
		closeEngine(t, holder)
	})
}

// A waiter that gives up while its grant is on its way gives it back at once.
func TestAWaiterThatLeavesAtTheWakeUpPassesTheKeyOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		holder, e, other := New(s), New(s), New(s)
		first := mustAcquire(t, holder, usual)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan *Failure, 1)
		go func() {
			_, _, f := e.Acquire(ctx, "k", usual)
			gone <- f
		}()
		synctest.Wait()
		next := queue(t, other, 1, usual)
		cancel()
		first.End()
		if f := <-gone; f == nil || f.Kind != Unasked && !f.ContextEnded {
			t.Errorf("the cancelled waiter got %v", f)
		}
		began := time.Now()
		h := <-next
		if d := time.Since(began); d > time.Second {
			t.Errorf("the key was passed on after %v", d)
		}
		h.End()
		for _, e := range []*Engine{e, other, holder} {
			closeEngine(t, e)
		}
	})
}

// However long ago the waiter asked, a renewal that is never answered leaves
// time for another.
func TestOneHungRenewalLosesNoLeaseBegunOnAWakeUp(t *testing.T) {
	for _, c := range []struct{ ttl, age time.Duration }{
		{10 * time.Second, 0},
		{10 * time.Second, 300 * time.Millisecond},
		{5 * time.Second, 700 * time.Millisecond},
		{3 * time.Second, 0},
		{3 * time.Second, 700 * time.Millisecond},
		{time.Second, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStrict(t)
			holder, e := New(s), New(s)
			first := mustAcquire(t, holder, usual)
			holds := queue(t, e, 1, Options{Terms: &keep.Terms{TTL: c.ttl, Margin: c.ttl / 10}, Wait: Forever})
			time.Sleep(c.age)
			s.Inject(guardtest.Fault{Op: guardtest.OpRenew, Times: 1})
			first.End()
			h := <-holds
			time.Sleep(5 * time.Second)
			if !h.Live() {
				t.Errorf("TTL %v, asked %v ago: %v", c.ttl, c.age, h.Cause())
			}
			h.End()
			closeEngine(t, e)
			closeEngine(t, holder)
		})
	}
}

func TestCleanUpLastsAsLongAsAGrantFromTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		h, end := handover(t, s, Options{Terms: &keep.Terms{TTL: 300 * time.Millisecond, Margin: 30 * time.Millisecond}, Wait: Forever}, 0)
		s.Fail(errors.New("cut off"))
		time.AfterFunc(400*time.Millisecond, func() { s.Fail(nil) })
		began := time.Now()
		h.End()
		for held := true; held; _, held = s.Holder("k") {
			time.Sleep(time.Millisecond)
		}
		if d := time.Since(began); d >= reservationMax-100*time.Millisecond { // then it was the claim that ended
			t.Errorf("the key was free after %v", d)
		}
		end()
	})
}
