package queue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/lease"
)

// answered returns a waiter that was given h at the moment in which it gave up.
func answered(h *keep.Hold) *waiter {
	return &waiter{opt: usual, hold: h}
}

func TestGrantDuringGivingUpIsTakenOrPassedOn(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *strict, e *Engine) {
		h := mustAcquire(t, e, usual)
		l := e.queues["k"]
		// Only the wait has ended: the hold is as good as one in time.
		if got, f := e.giveUp(l, answered(h), nil); got != h || f != nil {
			t.Errorf("giveUp() = %v, %v, want the hold", got, f)
		}
		// The context has ended: the next in the queue gets the key.
		next := queue(t, e, 1, usual)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		got, f := e.giveUp(l, answered(h), ctx)
		if got != nil || f == nil || f.Kind != Unasked {
			t.Errorf("giveUp() = %v, %v, want the end of the context", got, f)
		}
		start := time.Now()
		(<-next).End()
		if d := time.Since(start); d > 0 {
			t.Errorf("the next one waited %v on a free key", d)
		}
	})
}

func TestAttemptWithoutAWaiterIsBrokenOffAndCleanedUp(t *testing.T) {
	inBubble(t, func(t *testing.T, s *strict, e *Engine) {
		s.Inject(guardtest.Fault{Op: guardtest.OpAcquire}) // no reply
		ctx, cancel := context.WithCancel(context.Background())
		const gone = 300 * time.Millisecond // when the second attempt is under way
		time.AfterFunc(gone, cancel)
		start := time.Now()
		if _, _, f := e.Acquire(ctx, "k", usual); f == nil || f.Kind != Unasked {
			t.Errorf("Acquire() = %v, want the end of its context", f)
		}
		time.Sleep(time.Minute)
		if at := s.releasedAt(); len(at) == 0 || at[0].Sub(start) != gone {
			t.Errorf("released at %v, want it first after %v", at, gone)
		}
		s.Fail(nil)
	})
}

// overtaken executes an Acquire after a while, also if its caller has left by then.
type overtaken struct {
	*strict
	takes time.Duration
	sent  func() // called with each
}

func (s *overtaken) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	type outcome struct {
		reply lease.AcquireReply
		err   error
	}
	s.sent()
	done := make(chan outcome, 1)
	go func() {
		time.Sleep(s.takes)
		reply, err := s.Store.Acquire(context.WithoutCancel(ctx), r)
		done <- outcome{reply, err}
	}()
	select {
	case o := <-done:
		return o.reply, o.err
	case <-ctx.Done():
		return lease.AcquireReply{}, ctx.Err()
	}
}

func TestAttemptThatItsCleanUpOvertakesHoldsTheKeyForMomentsOnly(t *testing.T) {
	for _, late := range []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			s := &overtaken{strict: newStrict(t)}
			attempts := 0
			s.sent = func() {
				if attempts++; attempts == 2 { // the first is the caller's own
					s.takes = 2 * late
					time.AfterFunc(late, cancel)
				}
			}
			s.Inject(guardtest.Fault{Op: guardtest.OpAcquire, Err: errors.New("READONLY"), Times: 1})
			e := New(s)
			if _, _, f := e.Acquire(ctx, "k", usual); f == nil {
				t.Fatal("acquired")
			}
			time.Sleep(late + time.Microsecond)
			if _, held := s.Holder("k"); !held || attempts != 2 {
				t.Fatalf("held %v after %d attempts: nothing is shown", held, attempts)
			}
			time.Sleep(4*late + 30*time.Millisecond)
			if _, held := s.Holder("k"); held {
				t.Errorf("an attempt that was granted %v after its clean-up still holds the key", late)
			}
			closeEngine(t, e)
		})
	}
}

// watching counts the watches that have not been stopped.
type watching struct {
	*guardtest.Store
	n int
}

func (s *watching) Watch(owner string, w lease.Waker) {
	s.n++
	s.Store.Watch(owner, w)
}

func (s *watching) Unwatch(owner string) {
	s.n--
	s.Store.Unwatch(owner)
}

func TestEveryWatchIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &watching{Store: guardtest.NewStore()}
		e := New(s)
		h := mustAcquire(t, e, usual)
		if s.n != 0 {
			t.Errorf("%d watches while the key is held", s.n)
		}
		other := New(s)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, _, f := other.Acquire(ctx, "k", usual); f == nil {
			t.Error("acquired while the key is held")
		}
		synctest.Wait()
		if s.n != 0 {
			t.Errorf("%d watches without a waiter", s.n)
		}
		h.End()
		closeEngine(t, e)
		closeEngine(t, other)
	})
}
