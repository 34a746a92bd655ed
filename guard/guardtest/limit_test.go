package guardtest

import (
	"slices"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// join asks for a permit, and waits in the queue if none is free.
func join(t *testing.T, s *Store, owner string, limit lease.Limit, ttl time.Duration) lease.AcquireReply {
	t.Helper()
	reply, err := s.Acquire(t.Context(), lease.AcquireRequest{
		Key: "k", Owner: owner, Limit: limit, TTL: ttl, Join: true, Place: lease.Place{Reservation: time.Second}, TokenCount: 1,
	})
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return reply
}

func leave(t *testing.T, s *Store, owner string, limit lease.Limit, keepClosed time.Duration) {
	t.Helper()
	if _, err := s.Release(t.Context(), lease.ReleaseRequest{Key: "k", Owner: owner, Limit: limit, KeepClosed: keepClosed}); err != nil {
		t.Fatalf("Release: %v", err)
	}
}

func wantHolders(t *testing.T, s *Store, want ...string) {
	t.Helper()
	if got := s.Holders("k"); !slices.Equal(got, want) {
		t.Errorf("Holders() = %q, want %q", got, want)
	}
}

func TestPermitsEndExactlyAtTheirTTL(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		join(t, s, "a", 3, 10*time.Second)
		join(t, s, "b", lease.Shared, 20*time.Second)
		wantHolders(t, s, "a", "b")
		wantHolder(t, s, "k", "a")
		if got := s.Remaining("k"); got != 20*time.Second {
			t.Errorf("Remaining() = %v, want the last to count, 20s", got)
		}
		time.Sleep(10*time.Second - 1)
		wantHolders(t, s, "a", "b")
		time.Sleep(time.Nanosecond)
		wantHolders(t, s, "b")
		wantHolder(t, s, "k", "b")
		time.Sleep(10 * time.Second)
		wantHolders(t, s)
		if got := s.Keys(); len(got) != 0 || len(s.keys) != 0 {
			t.Errorf("Keys() = %q, %d entries, want none", got, len(s.keys))
		}
	})
}

func TestRemainingOfTheRefusedIsExact(t *testing.T) {
	tests := []struct {
		name  string
		limit lease.Limit
		want  time.Duration
	}{
		{"an exclusive owner waits for the last", lease.Exclusive, 40 * time.Second},
		{"a limit of one does too", 1, 40 * time.Second},
		{"a limit of two waits for two to go", 2, 30 * time.Second},
		{"a limit of three for one", 3, 20 * time.Second},
		{"a reader for one, because of c", lease.Shared, 20 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *Store) {
				join(t, s, "a", lease.Shared, 40*time.Second)
				join(t, s, "b", lease.Shared, 20*time.Second)
				join(t, s, "c", 3, 30*time.Second)
				got := join(t, s, "x", test.limit, time.Minute)
				if got.Granted || got.Remaining != test.want || got.Holder != "a" {
					t.Errorf("Acquire() = %+v, want refused by a for %v", got, test.want)
				}
				time.Sleep(test.want - 1)
				if join(t, s, "x", test.limit, time.Minute).Granted {
					t.Error("granted 1ns early")
				}
				time.Sleep(time.Nanosecond)
				if !join(t, s, "x", test.limit, time.Minute).Granted {
					t.Error("not granted in time")
				}
			})
		})
	}
}

// One holder more fits when the one with the strictest limit leaves, not before.
func TestRemainingSeesTheStrictestLeave(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		join(t, s, "a", 5, 10*time.Second)
		join(t, s, "b", 2, 20*time.Second)
		if got := join(t, s, "x", 5, time.Minute); got.Remaining != 10*time.Second {
			t.Errorf("Remaining = %v, want 10s", got.Remaining)
		}
		s.Hold("k", "a") // for ever
		if got := join(t, s, "x", 5, time.Minute); got.Remaining != 20*time.Second {
			t.Errorf("Remaining = %v, want 20s: then b and its limit are gone", got.Remaining)
		}
		if got := join(t, s, "y", lease.Exclusive, time.Minute); got.Remaining >= 0 {
			t.Errorf("Remaining = %v, want never", got.Remaining)
		}
	})
}

func TestRemainingBehindOthersIsWhenTheHeadIsGranted(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		join(t, s, "a", lease.Shared, 20*time.Second)
		join(t, s, "b", lease.Shared, 30*time.Second)
		join(t, s, "w", lease.Exclusive, time.Minute)
		got := join(t, s, "late", lease.Shared, time.Minute)
		if got.Granted || got.Head || got.Remaining != 30*time.Second {
			t.Errorf("a reader behind a writer: %+v, want 30s", got)
		}
	})
}

func TestReleaseGrantsAllThatFitAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		woken := map[string]int{}
		for _, owner := range []string{"r1", "r2", "w", "r3"} {
			t.Cleanup(watch(s, owner, func(lease.Grant) bool { woken[owner]++; return false }))
		}
		join(t, s, "first", lease.Exclusive, time.Minute)
		join(t, s, "r1", lease.Shared, time.Minute)
		join(t, s, "r2", 2, time.Minute)
		join(t, s, "w", lease.Exclusive, time.Minute)
		join(t, s, "r3", lease.Shared, time.Minute)
		leave(t, s, "first", lease.Exclusive, 0)
		wantHolders(t, s, "r1", "r2")
		if woken["r1"] != 1 || woken["r2"] != 1 || len(woken) != 2 || s.Waiting("k") != 2 {
			t.Errorf("woken %v with %d waiting, want r1 and r2 once, and 2", woken, s.Waiting("k"))
		}
		time.Sleep(time.Second) // their reservations expire; no waiter is woken
		wantHolders(t, s)
		if !join(t, s, "w", lease.Exclusive, time.Minute).Granted {
			t.Error("w is first now, and was refused")
		}
	})
}

func TestReaderThatTakesAFreeKeyGrantsTheReadersBehindIt(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		woken := 0
		defer watch(s, "r2", func(lease.Grant) bool { woken++; return false })()
		join(t, s, "w", lease.Exclusive, time.Minute)
		join(t, s, "r1", lease.Shared, time.Minute)
		join(t, s, "r2", lease.Shared, time.Minute)
		s.Expire("k")
		if !join(t, s, "r1", lease.Shared, time.Minute).Granted {
			t.Fatal("the head of the line was refused")
		}
		wantHolders(t, s, "r1", "r2")
		if woken != 1 || s.Waiting("k") != 0 {
			t.Errorf("r2 woken %d times with %d waiting, want 1 and 0", woken, s.Waiting("k"))
		}
	})
}

func TestUnwatchedReadersAreSkipped(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		stop := watch(s, "gone", func(lease.Grant) bool { t.Error("woken after Unwatch"); return false })
		join(t, s, "w", lease.Exclusive, time.Minute)
		join(t, s, "gone", lease.Shared, time.Minute)
		join(t, s, "polling", lease.Shared, time.Minute)
		stop()
		leave(t, s, "w", lease.Exclusive, 0)
		wantHolders(t, s, "polling")
	})
}

func TestReaderWhoseReservationExpiredReturnsToItsPlace(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		join(t, s, "first", lease.Exclusive, time.Minute)
		ticket := join(t, s, "late", lease.Shared, time.Minute).Ticket
		join(t, s, "r", lease.Shared, time.Minute)
		join(t, s, "w", lease.Exclusive, time.Minute)
		leave(t, s, "first", lease.Exclusive, 0)
		join(t, s, "r", lease.Shared, time.Minute)
		time.Sleep(time.Second)
		wantHolders(t, s, "r")
		reply, err := s.Acquire(t.Context(), lease.AcquireRequest{
			Key: "k", Owner: "late", Limit: lease.Shared, TTL: time.Minute, Join: true, Ticket: ticket,
		})
		if err != nil || !reply.Granted {
			t.Errorf("Acquire() = %+v, %v; want granted: no waiter is before it", reply, err)
		}
	})
}

func TestExpireAndHoldTakeTheKeyFromAllHolders(t *testing.T) {
	for name, rob := range map[string]func(s *Store){
		"Expire":  func(s *Store) { s.Expire("k") },
		"Hold":    func(s *Store) { s.Hold("k", "ops") },
		"HoldFor": func(s *Store) { s.HoldFor("k", "ops", time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *Store) {
				join(t, s, "a", 2, time.Minute)
				join(t, s, "b", 2, time.Minute)
				rob(s)
				for _, reply := range s.Renew(t.Context(), []lease.RenewRequest{
					{Key: "k", Owner: "a", Limit: 2, TTL: time.Minute}, {Key: "k", Owner: "b", Limit: 2, TTL: time.Minute},
				}) {
					if holder, _ := s.Holder("k"); reply.Held || reply.Holder != holder {
						t.Errorf("Renew() = %+v, want lost to %q", reply, holder)
					}
				}
				time.Sleep(time.Second)
				if got, want := join(t, s, "c", 2, time.Minute).Granted, name != "Hold"; got != want {
					t.Errorf("a second later a newcomer is granted: %v, want %v", got, want)
				}
			})
		})
	}
}

func TestHoldForCutsOneOfSeveralLeasesShort(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		join(t, s, "a", 2, time.Minute)
		join(t, s, "b", 2, time.Minute)
		s.HoldFor("k", "b", time.Second)
		if got := join(t, s, "c", 2, time.Minute); got.Granted || got.Remaining != time.Second {
			t.Errorf("Acquire() = %+v, want refused for 1s: b is still a holder", got)
		}
		time.Sleep(time.Second)
		wantHolders(t, s, "a")
		s.HoldFor("k", "a", 0)
		wantHolders(t, s)
	})
}

func TestPermitIsKeptClosedExactlyForItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		a := s.NewOwner("trace")
		join(t, s, a, 1, time.Minute)
		leave(t, s, a, 1, 5*time.Second)
		wantHolders(t, s, lease.ClosedMarker(a))
		if got := join(t, s, "b", lease.Shared, time.Minute); got.Granted || got.Remaining != 5*time.Second {
			t.Errorf("Acquire() = %+v, want refused for 5s: the permit keeps its limit", got)
		}
		time.Sleep(5*time.Second - 1)
		if join(t, s, "b", lease.Shared, time.Minute).Granted {
			t.Error("granted while the permit was taken")
		}
		time.Sleep(time.Nanosecond)
		if !join(t, s, "b", lease.Shared, time.Minute).Granted {
			t.Error("the permit is still taken")
		}
	})
}

// On a server the two kinds have different keys: a guard that mixes them up must not
// pass its tests here.
func TestLeaseIsFoundOnlyByRequestsOfItsKind(t *testing.T) {
	for _, limits := range [][2]lease.Limit{{lease.Exclusive, lease.Shared}, {lease.Shared, lease.Exclusive}, {2, lease.Exclusive}} {
		inBubble(t, func(t *testing.T, s *Store) {
			join(t, s, "a", limits[0], time.Minute)
			if reply := s.Renew(t.Context(), []lease.RenewRequest{{Key: "k", Owner: "a", Limit: limits[1], TTL: time.Hour}})[0]; reply.Held {
				t.Errorf("held with limit %d, renewed with limit %d", limits[0], limits[1])
			}
			leave(t, s, "a", limits[1], 0)
			wantHolders(t, s, "a")
			leave(t, s, "a", limits[0], 0)
			wantHolders(t, s)
		})
	}
}
