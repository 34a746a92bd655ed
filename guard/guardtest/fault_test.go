package guardtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var errDown = errors.New("down")

// attempt acquires once with a timeout and returns how long it took.
func attempt(t *testing.T, s *Store, key string, timeout time.Duration) (took time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	began := time.Now()
	_, err = s.Acquire(ctx, lease.AcquireRequest{Key: key, Owner: "a", TTL: time.Minute, TokenCount: 1})
	return time.Since(began), err
}

func TestFailHasNoEffectUntilHealed(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		acquire(t, s, "held", "a", time.Minute)
		time.Sleep(time.Second)
		s.Fail(errDown)
		if _, err := attempt(t, s, "k", time.Second); err != errDown {
			t.Errorf("Acquire() = %v, want %v", err, errDown)
		}
		for _, reply := range s.Renew(t.Context(), make([]lease.RenewRequest, 3)) {
			if reply.Err != errDown {
				t.Errorf("Renew() = %+v, want %v", reply, errDown)
			}
		}
		if _, err := s.Release(t.Context(), lease.ReleaseRequest{Key: "held", Owner: "a"}); err != errDown {
			t.Errorf("Release() = %v, want %v", err, errDown)
		}
		wantHolder(t, s, "k", "")
		wantHolder(t, s, "held", "a")
		if got := s.Remaining("held"); got != 59*time.Second {
			t.Errorf("Remaining() = %v, want 59s", got)
		}
		s.Fail(nil)
		if _, err := attempt(t, s, "k", time.Second); err != nil {
			t.Errorf("Acquire() after Fail(nil) = %v", err)
		}
	})
}

func TestLostReplyTakesEffect(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		s.Inject(Fault{Op: OpAcquire, Err: errDown, Lost: true, Times: 1})
		if _, err := attempt(t, s, "k", time.Second); err != errDown {
			t.Errorf("Acquire() = %v, want %v", err, errDown)
		}
		wantHolder(t, s, "k", "a")
		if _, err := attempt(t, s, "k", time.Second); err != nil {
			t.Errorf("second Acquire() = %v", err)
		}
	})
}

func TestNoReplyLastsUntilTheContextEnds(t *testing.T) {
	for _, lost := range []bool{false, true} {
		inBubble(t, func(t *testing.T, s *Store) {
			s.Inject(Fault{Lost: lost})
			took, err := attempt(t, s, "k", 3*time.Second)
			if took != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Acquire() = %v after %v, want DeadlineExceeded after 3s", err, took)
			}
			if _, held := s.Holder("k"); held != lost {
				t.Errorf("Lost %v: took effect %v", lost, held)
			}
		})
	}
}

func TestFaultsMakeAScript(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		errOther := errors.New("other")
		s.Inject(Fault{Op: OpRenew, Err: errOther})
		s.Inject(Fault{Key: "k", Err: errDown, Times: 2})
		s.Inject(Fault{Op: OpAcquire, Err: errOther, Times: 1})
		for i, want := range []error{errDown, errDown, errOther, nil} {
			if _, err := attempt(t, s, "k", time.Second); err != want {
				t.Errorf("call %d: %v, want %v", i, err, want)
			}
		}
	})
}

func TestFaultOfOneKeyFailsNoOtherKeyOfACall(t *testing.T) {
	for _, fault := range []Fault{{Key: "b", Err: errDown}, {Key: "b"}} {
		inBubble(t, func(t *testing.T, s *Store) {
			var rs []lease.RenewRequest
			for _, key := range []string{"a", "b", "c"} {
				acquire(t, s, key, "x", time.Minute)
				rs = append(rs, lease.RenewRequest{Key: key, Owner: "x", TTL: time.Hour})
			}
			s.Inject(fault)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			replies := s.Renew(ctx, rs)
			if !replies[0].Held || !replies[2].Held {
				t.Errorf("a and c: %+v, want held", replies)
			}
			if replies[1].Err == nil || s.Remaining("b") > time.Minute {
				t.Errorf("b: %+v with %v remaining, want failed and not extended", replies[1], s.Remaining("b"))
			}
		})
	}
}

func TestLostWakeLeavesTheGrant(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		woken := 0
		defer watch(s, "b", func(lease.Grant) bool { woken++; return false })()
		s.Inject(Fault{Op: OpWake, Times: 1})
		acquire(t, s, "k", "a", time.Minute)
		acquire(t, s, "k", "b", time.Minute)
		release(t, s, "k", "a", 0)
		wantHolder(t, s, "k", "b")
		if woken != 0 || s.Calls(OpWake) != 1 {
			t.Errorf("woken %d times by %d messages, want 0 by 1", woken, s.Calls(OpWake))
		}
		acquire(t, s, "k", "a", time.Minute)
		release(t, s, "k", "b", 0)
		acquire(t, s, "k", "b", time.Minute)
		release(t, s, "k", "a", 0)
		if woken != 1 {
			t.Errorf("woken %d times once healed, want 1", woken)
		}
	})
}

func TestDelayIsSplitAroundTheEffect(t *testing.T) {
	tests := []struct {
		name             string
		timeout          time.Duration
		wantTook         time.Duration
		wantErr, wantHas bool
	}{
		{"ample", 3 * time.Second, 2 * time.Second, false, true},
		{"ends on the way back", 1500 * time.Millisecond, 1500 * time.Millisecond, true, true},
		{"ends with the reply", 2 * time.Second, 2 * time.Second, true, true},
		{"ends on the way there", 500 * time.Millisecond, 500 * time.Millisecond, true, false},
		{"ends on arrival", time.Second, time.Second, true, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *Store) {
				s.Delay(2 * time.Second)
				took, err := attempt(t, s, "k", test.timeout)
				if took != test.wantTook || (err != nil) != test.wantErr {
					t.Errorf("Acquire() = %v after %v; want error %v after %v", err, took, test.wantErr, test.wantTook)
				}
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Acquire() = %v, want DeadlineExceeded", err)
				}
				if _, has := s.Holder("k"); has != test.wantHas {
					t.Errorf("took effect: %v, want %v", has, test.wantHas)
				}
			})
		})
	}
}

func TestCancelledDelayReturnsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		s.Delay(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		reply := s.Renew(ctx, []lease.RenewRequest{{Key: "k", Owner: "a", TTL: time.Minute}})[0]
		if took := time.Since(began); took != time.Second || !errors.Is(reply.Err, context.Canceled) {
			t.Errorf("Renew() = %v after %v, want Canceled after 1s", reply.Err, took)
		}
	})
}

func TestCallsCountsRoundTrips(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		acquire(t, s, "k", "a", time.Minute)
		s.Renew(t.Context(), make([]lease.RenewRequest, 100))
		s.Fail(errDown)
		_, _ = attempt(t, s, "k", time.Second)
		for op, want := range map[Op]int{OpAcquire: 2, OpRenew: 1, OpRelease: 0, OpWake: 0} {
			if got := s.Calls(op); got != want {
				t.Errorf("Calls(%q) = %d, want %d", op, got, want)
			}
		}
	})
}
