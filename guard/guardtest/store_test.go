package guardtest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// inBubble runs f on fake time with a new store.
func inBubble(t *testing.T, f func(t *testing.T, s *Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, NewStore()) })
}

func acquire(t *testing.T, s *Store, key, owner string, ttl time.Duration) lease.AcquireReply {
	t.Helper()
	reply, err := s.Acquire(t.Context(), lease.AcquireRequest{
		Key: key, Owner: owner, TTL: ttl, Join: true, Place: lease.Place{Reservation: time.Second}, TokenCount: 1,
	})
	if err != nil {
		t.Fatalf("Acquire(%q): %v", key, err)
	}
	return reply
}

func release(t *testing.T, s *Store, key, owner string, keepClosed time.Duration) bool {
	t.Helper()
	reply, err := s.Release(t.Context(), lease.ReleaseRequest{Key: key, Owner: owner, Place: lease.Place{Reservation: time.Second}, KeepClosed: keepClosed})
	if err != nil {
		t.Fatalf("Release(%q): %v", key, err)
	}
	return reply.Released
}

func wantHolder(t *testing.T, s *Store, key, want string) {
	t.Helper()
	if got, ok := s.Holder(key); got != want || ok != (want != "") {
		t.Errorf("Holder(%q) = %q, %v; want %q", key, got, ok, want)
	}
}

func TestLeaseEndsExactlyAtItsTTL(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		acquire(t, s, "k", "a", 10*time.Second)
		time.Sleep(10*time.Second - 1)
		wantHolder(t, s, "k", "a")
		if got := s.Remaining("k"); got != 1 {
			t.Errorf("Remaining() = %v, want 1ns", got)
		}
		time.Sleep(time.Nanosecond)
		wantHolder(t, s, "k", "")
		if got := s.Keys(); len(got) != 0 {
			t.Errorf("Keys() = %q, want none", got)
		}
	})
}

func TestRenewalCountsFromWhenItTookEffect(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		acquire(t, s, "k", "a", 10*time.Second)
		s.Delay(4 * time.Second)
		if reply := s.Renew(t.Context(), []lease.RenewRequest{{Key: "k", Owner: "a", TTL: 10 * time.Second}})[0]; !reply.Held {
			t.Fatalf("Renew() = %+v", reply)
		}
		if got := s.Remaining("k"); got != 8*time.Second { // 2 s on the way back are gone
			t.Errorf("Remaining() = %v, want 8s", got)
		}
	})
}

func TestReservationAndKeepClosedEndExactly(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		acquire(t, s, "k", "a", time.Minute)
		acquire(t, s, "k", "b", time.Minute) // its reservation is 1 s
		acquire(t, s, "k", "c", time.Minute)
		release(t, s, "k", "a", 5*time.Second)
		time.Sleep(5*time.Second - 1)
		if acquire(t, s, "k", "b", time.Minute).Granted {
			t.Error("granted while the key was kept closed")
		}
		time.Sleep(time.Nanosecond)
		if got := acquire(t, s, "k", "c", time.Minute); got.Holder != "b" || got.Remaining != time.Second {
			t.Errorf("after KeepClosed: %+v, want b to have its reservation of 1s", got)
		}
		time.Sleep(time.Second)
		if !acquire(t, s, "k", "c", time.Minute).Granted {
			t.Error("the reservation did not lapse after 1s")
		}
	})
}

func TestTokensAreExact(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		mint := func(n int) (first, last int64) {
			reply, err := s.Acquire(t.Context(), lease.AcquireRequest{Key: "k", Owner: "a", TTL: time.Minute, TokenCount: n})
			if err != nil {
				t.Fatal(err)
			}
			return reply.Fence, reply.Fence + int64(reply.TokenCount) - 1
		}
		now := time.Now().UnixMicro()
		if first, last := mint(3); first != now || last != now+2 {
			t.Errorf("first tokens %d–%d, want %d–%d", first, last, now, now+2)
		}
		if first, last := mint(1 << 30); first != now+3 || last != now+maxAhead {
			t.Errorf("a huge range is %d–%d, want %d–%d", first, last, now+3, now+maxAhead)
		}
		if first, last := mint(100); first != now+maxAhead+1 || last != first {
			t.Errorf("beyond the limit %d–%d, want one token, %d", first, last, now+maxAhead+1)
		}
		time.Sleep(time.Second)
		if first, _ := mint(1); first != now+1_000_000 {
			t.Errorf("a second later %d, want the clock, %d", first, now+1_000_000)
		}
	})
}

func TestExpireWakesNoWaiterAndTheNextRequestGrantsTheHead(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		woken := 0
		defer watch(s, "b", func(lease.Grant) bool { woken++; return false })()
		acquire(t, s, "k", "a", time.Minute)
		acquire(t, s, "k", "b", time.Minute)
		s.Expire("k")
		wantHolder(t, s, "k", "")
		if woken != 0 || s.Waiting("k") != 1 {
			t.Errorf("woken %d times with %d waiting, want 0 and 1", woken, s.Waiting("k"))
		}
		if got := acquire(t, s, "k", "c", time.Minute); got.Holder != "b" || woken != 1 {
			t.Errorf("a newcomer got %+v, b was woken %d times; want b granted and woken once", got, woken)
		}
	})
}

func TestForeignLockHoldsUntilExpired(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		acquire(t, s, "k", "a", time.Minute)
		s.Hold("k", "ops")
		if got := s.Remaining("k"); got >= 0 {
			t.Errorf("Remaining() = %v, want negative", got)
		}
		time.Sleep(1000 * time.Hour)
		if got := acquire(t, s, "k", "a", time.Minute); got.Granted || got.Holder != "ops" || got.Remaining >= 0 {
			t.Errorf("Acquire() = %+v, want refused by ops for ever", got)
		}
		s.HoldFor("k", "ops", time.Second)
		time.Sleep(time.Second)
		if !acquire(t, s, "k", "a", time.Minute).Granted {
			t.Error("the TTL of the foreign lock did not end")
		}
	})
}

func TestHoldForCutsALeaseShort(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		acquire(t, s, "k", "a", time.Minute)
		owner, _ := s.Holder("k")
		s.HoldFor("k", owner, time.Second)
		if got := s.Remaining("k"); got != time.Second {
			t.Errorf("Remaining() = %v, want 1s", got)
		}
		if !release(t, s, "k", "a", 0) {
			t.Error("the lease is no longer its owner's")
		}
	})
}

func TestUnwatchedWaitersAreSkipped(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		stop := watch(s, "gone", func(lease.Grant) bool { t.Error("woken after Unwatch"); return false })
		acquire(t, s, "k", "a", time.Minute)
		acquire(t, s, "k", "gone", time.Minute)
		acquire(t, s, "k", "polling", time.Minute)
		stop()
		release(t, s, "k", "a", 0)
		wantHolder(t, s, "k", "polling")
	})
}

func TestWakeMayCallTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		var seen string
		var stop func()
		stop = watch(s, "b", func(lease.Grant) bool {
			seen, _ = s.Holder("k")
			stop()
			return false
		})
		acquire(t, s, "k", "a", time.Minute)
		acquire(t, s, "k", "b", time.Minute)
		release(t, s, "k", "a", 0)
		if seen != "b" {
			t.Errorf("when woken the holder was %q, want b", seen)
		}
	})
}

func TestKeysListsWhatIsHeldOrWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		acquire(t, s, "b", "x", time.Minute)
		acquire(t, s, "a", "x", time.Minute)
		acquire(t, s, "short", "x", time.Second)
		acquire(t, s, "waited", "x", time.Second)
		acquire(t, s, "waited", "y", time.Second)
		time.Sleep(time.Second)
		if got, want := s.Keys(), []string{"a", "b", "waited"}; !slices.Equal(got, want) {
			t.Errorf("Keys() = %q, want %q", got, want)
		}
		release(t, s, "a", "x", 0)
		release(t, s, "b", "x", 0)
		release(t, s, "waited", "y", 0)
		if len(s.keys) != 0 {
			t.Errorf("state of %d free keys is kept", len(s.keys))
		}
	})
}

func TestContextAtItsDeadlineIsOver(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		_, err := s.Acquire(ctx, lease.AcquireRequest{Key: "k", Owner: "a", TTL: time.Minute})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Acquire() = %v, want DeadlineExceeded", err)
		}
		wantHolder(t, s, "k", "")
	})
}

// watch calls Watch, and returns what undoes it.
func watch(s *Store, owner string, wake func(lease.Grant) bool) (stop func()) {
	s.Watch(owner, lease.WakeFunc(wake))
	return func() { s.Unwatch(owner) }
}
