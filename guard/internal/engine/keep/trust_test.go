package keep

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// spend puts the end of h's trust into the past, on either clock or both, and no
// timer has noticed: so it is in a process that was stopped and runs on.
func spend(h *Hold, mono, wall bool) {
	if mono {
		h.l.trust.mono.Store(int64(time.Since(h.l.k.base)) - 1)
	}
	if wall {
		h.l.trust.wall.Store(time.Now().UnixNano() - 1)
	}
}

func TestEitherClockEndsTrust(t *testing.T) {
	for name, clock := range map[string]struct{ mono, wall bool }{
		"monotonic": {mono: true},
		"wall":      {wall: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, _ *guardtest.Store, k *Keeper) {
				h, unseen := mustAcquire(t, k, usual), holdKey(t, k, "unseen", usual)
				calls := 0
				h.Bind(onLost(func(*Lost) { calls++ }), false)
				spend(h, clock.mono, clock.wall)
				if h.Live() || h.TrustLeft() != 0 || calls != 1 {
					t.Errorf("live %v, trusted for %v, called %d times", h.Live(), h.TrustLeft(), calls)
				}
				endsLost(t, h)
				spend(unseen, clock.mono, clock.wall)
				endsLost(t, unseen) // the first look is that of End
			})
		})
	}
}

func TestReplyAfterTheEndOfTrustRevivesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, k *Keeper) {
		h := mustAcquire(t, k, usual)
		spend(h, true, true)
		for _, when := range []string{"before the end of trust was noticed", "after it"} {
			k.mu.Lock()
			h.l.renewedLocked(time.Now(), lease.RenewReply{Held: true})
			left := h.l.trustLeft(time.Now())
			k.mu.Unlock()
			if left > 0 || h.Live() {
				t.Errorf("renewed %s: trusted for %v, live %v", when, left, h.Live())
			}
		}
		h.End()
	})
}

func TestRepliesOutOfOrderDoNotShortenTrust(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, k *Keeper) {
		h := mustAcquire(t, k, usual)
		time.Sleep(time.Second)
		k.mu.Lock()
		h.l.ExtendLocked(time.Now(), h.l.terms.TTL)
		h.l.ExtendLocked(time.Now().Add(-500*time.Millisecond), h.l.terms.TTL)
		k.mu.Unlock()
		if left := h.TrustLeft(); left != 9*time.Second {
			t.Errorf("trusted for %v, want 9s from the later request", left)
		}
		h.End()
	})
}

func TestLateRepliesToRenewalsAreNoEvents(t *testing.T) {
	for name, end := range map[string]func(*Hold){
		"released": func(h *Hold) { h.End() },
		"MaxHold":  func(h *Hold) { h.StopRenewing(); time.Sleep(time.Minute); h.End() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *guardtest.Store, k *Keeper) {
				h := mustAcquire(t, k, usual)
				h.Bind(listen(func(ev Event) {
					if ev.Kind == EventRenewed || ev.Kind == EventRenewFailed {
						t.Errorf("event of a renewal: %+v", ev)
					}
				}), true)
				s.Delay(400 * time.Millisecond)
				for s.Calls(guardtest.OpRenew) == 0 {
					time.Sleep(time.Millisecond)
				}
				end(h) // the renewal is under way
			})
		})
	}
}

// One timer serves the ends of all trust: each lease is lost at its own moment
// all the same, in whatever order they began.
func TestEachLeaseIsLostAtItsOwnTime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *guardtest.Store, k *Keeper) {
		var mu sync.Mutex
		lost := make(map[time.Duration]time.Duration) // by TTL
		var holds []*Hold
		began := time.Now()
		for _, seconds := range []int{5, 2, 9, 1, 3} {
			ttl := time.Duration(seconds) * time.Second
			h := holdKey(t, k, ttl.String(), Terms{TTL: ttl, Margin: ttl / 10})
			h.Bind(onLost(func(*Lost) {
				mu.Lock()
				defer mu.Unlock()
				lost[ttl] = time.Since(began)
			}), false)
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
	})
}

// A slow listener of one lease does not delay the others' end.
func TestASlowListenerDelaysNoOtherLoss(t *testing.T) {
	inBubble(t, func(t *testing.T, s *guardtest.Store, k *Keeper) {
		began := time.Now()
		a, b := holdKey(t, k, "a", usual), holdKey(t, k, "b", usual)
		lostAt := make(chan time.Duration, 2)
		for _, h := range []*Hold{a, b} {
			h.Bind(listen(func(ev Event) {
				if ev.Kind == EventLost {
					time.Sleep(5 * time.Second)
				}
			}), true)
			h.Bind(onLost(func(*Lost) { lostAt <- time.Since(began) }), false)
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
	})
}

func TestEnsureLeavesOneRenewalPlanned(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, k *Keeper) {
		h := mustAcquire(t, k, usual)
		for range 3 {
			time.Sleep(time.Second)
			must(t, h.Ensure(context.Background(), 9*time.Second))
		}
		k.mu.Lock()
		planned := k.renewals.Len()
		k.mu.Unlock()
		if planned != 1 {
			t.Errorf("%d renewals planned for one lease", planned)
		}
		h.End()
	})
}

func TestTrustNeverRevives(t *testing.T) {
	inBubble(t, func(t *testing.T, s *guardtest.Store, k *Keeper) {
		h := mustAcquire(t, k, usual)
		ended := make(chan time.Duration, 9)
		start := time.Now()
		h.Bind(onLost(func(*Lost) { ended <- time.Since(start) }), false)
		// Renewals reach the server, their replies come only when trust is over.
		s.Inject(guardtest.Fault{Op: guardtest.OpRenew, Lost: true})
		time.Sleep(9 * time.Second)
		s.Fail(nil)
		time.Sleep(time.Minute) // renewed all the while, best effort
		if owner, ok := s.Holder("k"); !ok || owner != h.Owner() {
			t.Errorf("held by %q %v: the best-effort renewal ended", owner, ok)
		}
		if h.Live() || h.TrustLeft() != 0 {
			t.Error("trust has revived")
		}
		if at := <-ended; at != 9*time.Second || len(ended) > 0 {
			t.Errorf("cancelled after %v and %d times more, want once after 9s", at, len(ended))
		}
		endsLost(t, h)
	})
}
