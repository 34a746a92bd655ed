package queue

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestWaiterThatArrivesDuringATryJoinsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *strict, e *Engine) {
		s.Hold("k", "other")
		s.Delay(20 * time.Millisecond)
		once := usual
		once.Wait = 0
		go func() {
			if _, _, f := e.Acquire(context.Background(), "k", once); f == nil || f.Kind != Busy {
				t.Errorf("trying once: %v, want ErrBusy", f)
			}
		}()
		time.Sleep(5 * time.Millisecond) // its attempt is under way
		holds := queue(t, e, 1, usual)
		time.Sleep(50 * time.Millisecond)
		if n := s.Waiting("k"); n != 1 {
			t.Errorf("%d in the queue, want the one that waits", n)
		}
		s.Delay(0)
		s.Expire("k")
		(<-holds).End()
	})
}

func TestALateCallerOfAFailingStoreHasItsOwnWait(t *testing.T) {
	inBubble(t, func(t *testing.T, s *strict, e *Engine) {
		s.Fail(errors.New("connection refused"))
		go func() {
			if _, _, f := e.Acquire(context.Background(), "k", usual); f == nil || f.Kind != Unavailable {
				t.Errorf("the first: %v, want ErrUnavailable", f)
			}
		}()
		time.Sleep(8 * time.Second)
		patient := usual
		patient.Wait = 5 * time.Second
		start := time.Now()
		_, _, f := e.Acquire(context.Background(), "k", patient)
		if d := time.Since(start); f == nil || f.Kind != Unavailable || d != patient.Wait {
			t.Errorf("the second: %v after %v, want ErrUnavailable after %v", f, d, patient.Wait)
		}
		s.Fail(nil)
	})
}

func TestFailuresBeforeAnAnswerDoNotCount(t *testing.T) {
	inBubble(t, func(t *testing.T, s *strict, e *Engine) {
		s.Hold("k", "other")
		down := errors.New("connection refused")
		holds := queue(t, e, 1, usual)
		for range 3 { // shorter than a TTL each time
			s.Fail(down)
			time.Sleep(6 * time.Second)
			s.Fail(nil)
			time.Sleep(6 * time.Second)
		}
		s.Expire("k")
		select {
		case h := <-holds:
			h.End()
		case <-time.After(time.Minute):
			t.Error("did not get the key")
		}
	})
}

func TestCallerLeavesAServerThatDoesNotAnswer(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name          string
		wait, timeout time.Duration
		cancel        time.Duration
		want          time.Duration
	}{
		{"Wait", 20 * ms, 0, 0, 20 * ms},
		{"deadline", Forever, 30 * ms, 0, 30 * ms},
		{"cancelled", Forever, 0, 10 * ms, firstPatience}, // the first attempt is not broken off
		{"cancelled later", Forever, 0, 300 * ms, 300 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *strict, e *Engine) {
				s.Inject(guardtest.Fault{Op: guardtest.OpAcquire})
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if c.timeout > 0 {
					ctx, cancel = context.WithTimeout(ctx, c.timeout)
					defer cancel()
				}
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, cancel)
				}
				opt := usual
				opt.Wait = c.wait
				start := time.Now()
				_, _, f := e.Acquire(ctx, "k", opt)
				if d := time.Since(start); f == nil || d != c.want {
					t.Errorf("%v after %v, want it after %v", f, d, c.want)
				}
				s.Fail(nil)
			})
		})
	}
}

// costOf has n callers wait, and returns what it costs to serve half of them, one
// after the other, and to have the other half leave.
func costOf(n int) time.Duration {
	l := &local{line: &line{e: New(guardtest.NewStore()), candidate: &candidate{}}}
	ws := make([]waiter, n)
	for i := range ws {
		ws[i].opt = usual
		l.waiters.push(&ws[i])
	}
	start := time.Now()
	for i := 0; i < n; i += 2 {
		l.answerLocked(l.waiters.first, nil, nil)
		l.seenLocked("owner")
		l.refuseTriesLocked()
		l.leaveLocked(&ws[n-1-i/2])
	}
	return time.Since(start) / time.Duration(n)
}

func TestWaitersCostTheSameHoweverManyThereAre(t *testing.T) {
	few, many := time.Hour, time.Hour
	for range 5 { // the best of some, as a machine may be busy
		few, many = min(few, costOf(1000)), min(many, costOf(100_000))
	}
	if many > 50*few { // caches make some of it; walking the list made it a thousand
		t.Errorf("%v for each of 100 000 waiters, %v for each of 1 000", many, few)
	}
}

func TestAHeldKeyKeepsNothingOfThoseWhoWaitedForIt(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *strict, e *Engine) {
		h := mustAcquire(t, e, usual)
		l := e.queues["k"]
		for _, wait := range []time.Duration{handoffMax / 2, 0, handoffMax * 2, time.Second} {
			opt := usual
			opt.Wait = wait
			if _, _, f := e.Acquire(t.Context(), "k", opt); f == nil || f.Kind != Busy {
				t.Errorf("after waiting for %v: %+v, want busy", wait, f)
			}
			time.Sleep(handoffMax)
			synctest.Wait()
			if hasLine(l) {
				t.Errorf("a waiter that left after %v is remembered", wait)
			}
		}
		h.End()
	})
}

func hasLine(l *local) bool {
	l.keeper().Lock()
	defer l.keeper().Unlock()
	return l.line != &l.e.nobody
}

func TestALineLastsUntilItsLastWaiterIsServed(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *strict, e *Engine) {
		h := mustAcquire(t, e, usual)
		holds := queue(t, e, 2, usual)
		l := e.queues["k"]
		for left := 1; left >= 0; left-- {
			h.End() // handed over
			h = <-holds
			once := usual
			once.Wait = 0
			if _, _, f := e.Acquire(t.Context(), "k", once); f == nil {
				t.Error("acquired a key that is held")
			}
			if !hasLine(l) {
				t.Errorf("the line is gone before its timer, with %d in it", left)
			}
		}
		time.Sleep(handoffMax)
		synctest.Wait()
		if hasLine(l) {
			t.Error("the line is still there after the last waiter was served")
		}
		h.End()
	})
}

func TestALineLastsUntilItsLastTrialHasEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, s *strict, e *Engine) {
		s.Delay(time.Second)
		e.keeper.Lock()
		e.keeper.ObserveLocked(time.Second) // so far that callers do not ask themselves
		e.keeper.Unlock()
		opt := limited(lease.Shared, 100*time.Millisecond)
		var callers sync.WaitGroup
		for range 2 { // a candidate, which is broken off, and a trial, which is not
			callers.Go(func() {
				if _, _, f := e.Acquire(t.Context(), "k", opt); f == nil {
					t.Error("acquired before the store has answered")
				}
			})
		}
		callers.Wait()
	})
}

// What a process keeps for very many held keys is worth to be looked at; see
// docs/costs.md. Sizes are those of the allocator's classes.
func TestAHeldKeyIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(local{}); size > 192 {
		t.Errorf("the queue of a key, with its lease and hold, has %d bytes, want at most 192", size)
	}
}
