package engine

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// mustAcquire returns a hold of "k".
func mustAcquire(t testing.TB, e *Engine, opt Options) *Hold {
	t.Helper()
	h, f := e.Acquire(context.Background(), "k", opt)
	if f != nil {
		t.Fatal(f)
	}
	return h
}

// spend puts the end of h's trust into the past, on either clock or both, and no
// timer has noticed: so it is in a process that was stopped and runs on.
func spend(h *Hold, mono, wall bool) {
	if mono {
		h.t.trust.mono.Store(int64(time.Since(h.t.l.e.base)) - 1)
	}
	if wall {
		h.t.trust.wall.Store(time.Now().UnixNano() - 1)
	}
}

func TestEitherClockEndsTrust(t *testing.T) {
	for name, clock := range map[string]struct{ mono, wall bool }{
		"monotonic": {mono: true},
		"wall":      {wall: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := New(newStrict(t))
				h := mustAcquire(t, e, usual)
				told := 0
				h.Bind(onLost(func(*Lost) { told++ }))
				spend(h, clock.mono, clock.wall)
				if h.Live() || h.TrustLeft() != 0 || told != 1 {
					t.Errorf("live %v, trusted for %v, told %d times", h.Live(), h.TrustLeft(), told)
				}
				if lost := h.End(); lost == nil || lost.Reason != ReasonExpired {
					t.Errorf("End() = %v, want the loss", lost)
				}
				closeEngine(t, e)
			})
		})
	}
}

func TestEndFindsALossThatNobodyHasSeenYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(newStrict(t))
		h := mustAcquire(t, e, usual)
		spend(h, true, true)
		if lost := h.End(); lost == nil || lost.Kind != ErrLost {
			t.Errorf("End() = %v, want the loss", lost)
		}
		closeEngine(t, e)
	})
}

func TestRenewalThatIsAnsweredAfterTheEndOfTrustRevivesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(newStrict(t))
		h := mustAcquire(t, e, usual)
		spend(h, true, true)
		for _, when := range []string{"before anybody saw that trust is over", "after it"} {
			e.mu.Lock()
			h.t.settleLocked(time.Now(), lease.RenewReply{Held: true})
			left := h.t.trustLeft(time.Now())
			e.mu.Unlock()
			if left > 0 || h.Live() {
				t.Errorf("renewed %s: trusted for %v, live %v", when, left, h.Live())
			}
		}
		h.End()
		closeEngine(t, e)
	})
}

func TestRepliesOutOfOrderDoNotShortenTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(newStrict(t))
		h := mustAcquire(t, e, usual)
		time.Sleep(time.Second)
		e.mu.Lock()
		h.t.extendLocked(time.Now(), h.t.opt.TTL)
		h.t.extendLocked(time.Now().Add(-500*time.Millisecond), h.t.opt.TTL)
		e.mu.Unlock()
		if left := h.TrustLeft(); left != 9*time.Second {
			t.Errorf("trusted for %v, want 9s from the later request", left)
		}
		h.End()
		closeEngine(t, e)
	})
}

func TestNothingIsToldOfARenewalThatCameTooLateToMatter(t *testing.T) {
	for name, end := range map[string]func(*Hold){
		"released": func(h *Hold) { h.End() },
		"MaxHold":  func(h *Hold) { h.StopRenewing(); time.Sleep(time.Minute); h.End() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStrict(t)
				e := New(s)
				h := mustAcquire(t, e, usual)
				h.Notify(listen(func(ev Event) {
					if ev.Kind == EventRenewed || ev.Kind == EventRenewFailed {
						t.Errorf("told of a renewal: %+v", ev)
					}
				}))
				s.Delay(400 * time.Millisecond)
				for s.Calls(guardtest.OpRenew) == 0 {
					time.Sleep(time.Millisecond)
				}
				end(h) // the renewal is under way
				closeEngine(t, e)
			})
		})
	}
}

// One timer serves the ends of all trust: each lease is lost at its own moment
// all the same, in whatever order they began.
func TestEachLeaseIsLostAtItsOwnMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := guardtest.NewStore()
		e := New(s)
		var mu sync.Mutex
		lost := make(map[time.Duration]time.Duration) // by TTL
		var holds []*Hold
		began := time.Now()
		for _, seconds := range []int{5, 2, 9, 1, 3} {
			ttl := time.Duration(seconds) * time.Second
			h := holdKey(t, e, ttl.String(), Options{TTL: ttl, Margin: ttl / 10, Wait: Forever})
			h.Bind(onLost(func(*Lost) {
				mu.Lock()
				defer mu.Unlock()
				lost[ttl] = time.Since(began)
			}))
			holds = append(holds, h)
		}
		s.Fail(errors.New("cut off"))
		time.Sleep(time.Minute)
		for _, h := range holds {
			ttl := h.TTL()
			if at, want := lost[ttl], ttl-ttl/10; at != want {
				t.Errorf("TTL %v: lost after %v, want %v", ttl, at, want)
			}
		}
		s.Fail(nil)
		for _, h := range holds {
			h.End()
		}
		closeEngine(t, e)
	})
}

// Whoever listens to one lease may take his time: others stop when they must.
func TestASlowListenerHoldsUpNobodysLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		e := New(s)
		began := time.Now()
		a, b := holdKey(t, e, "a", usual), holdKey(t, e, "b", usual)
		lostAt := make(chan time.Duration, 2)
		for _, h := range []*Hold{a, b} {
			h.Notify(listen(func(ev Event) {
				if ev.Kind == EventLost {
					time.Sleep(5 * time.Second)
				}
			}))
			h.Bind(onLost(func(*Lost) { lostAt <- time.Since(began) }))
		}
		s.Inject(guardtest.Fault{Op: guardtest.OpRenew, Err: errors.New("cut off")})
		for range 2 {
			if at, want := <-lostAt, usual.TTL-usual.Margin; at != want {
				t.Errorf("lost after %v, want %v", at, want)
			}
		}
		ended := time.Now()
		a.End()
		b.End()
		if d := time.Since(ended); d > 5*time.Second {
			t.Errorf("the two ends took %v, each listener 5 s, side by side", d)
		}
		closeEngine(t, e)
	})
}

func TestEnsureLeavesOneRenewalPlanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(newStrict(t))
		h := mustAcquire(t, e, usual)
		for range 3 {
			time.Sleep(time.Second)
			if err := h.Ensure(context.Background(), 9*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		e.mu.Lock()
		planned := len(e.renewals.entries)
		e.mu.Unlock()
		if planned != 1 {
			t.Errorf("%d renewals planned for one lease", planned)
		}
		h.End()
		closeEngine(t, e)
	})
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
		if lost := h.End(); lost != nil {
			t.Error(lost)
		}
		closeEngine(t, e)
	})
}

func TestGrantAskedForByAWaiterThatLeftIsNotTrustedForTheNextOnesTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		e := New(s)
		s.HoldFor("k", "somebody", time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			short := Options{TTL: time.Second, Margin: 100 * time.Millisecond, Wait: Forever}
			if _, f := e.Acquire(ctx, "k", short); f == nil {
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
			cancel() // it is first in line, and its attempt is under way
		}()
		h := mustAcquire(t, e, usual)
		if left := s.Remaining("k"); h.TrustLeft() > left {
			t.Errorf("trusted for %v, the store keeps it for %v", h.TrustLeft(), left)
		}
		s.Delay(0)
		h.End()
		closeEngine(t, e)
	})
}
