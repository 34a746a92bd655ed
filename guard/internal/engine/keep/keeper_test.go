package keep

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// lasting returns options with a TTL, and a tenth of it as the margin.
func lasting(ttl time.Duration) Terms {
	return Terms{TTL: ttl, Margin: ttl / 10}
}

func TestManyLeasesOfAllKindsAreKeptAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, k *Keeper) {
		var holds []*Hold
		for i, ttl := range []time.Duration{time.Hour, 10 * time.Second, time.Second, 100 * time.Millisecond, 50 * time.Millisecond} {
			for j := range 10 {
				holds = append(holds, holdKey(t, k, fmt.Sprint(i, ".", j), lasting(ttl)))
				time.Sleep(7 * time.Millisecond)
			}
		}
		time.Sleep(2 * time.Minute)
		endAll(t, holds...)
	})
}

func TestLeasesAreRenewedWhenAnotherSetTheTimer(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, k *Keeper) {
		short := holdKey(t, k, "short", lasting(time.Second))
		long := holdKey(t, k, "long", lasting(10*time.Second))
		endAll(t, short)
		time.Sleep(time.Minute) // the timer fires for nothing first
		short = holdKey(t, k, "short", lasting(time.Second))
		time.Sleep(time.Minute)
		endAll(t, short, long)
	})
}

func TestRenewalsTravelTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, s *guardtest.Store, k *Keeper) {
		var holds []*Hold
		for i := range 100 {
			holds = append(holds, holdKey(t, k, fmt.Sprint(i), usual))
		}
		time.Sleep(time.Minute)
		endAll(t, holds...)
		// 18 to 20 renewals of each lease, spread over a tenth of the interval.
		if n := s.Calls(guardtest.OpRenew); n > 300 {
			t.Errorf("%d round trips for 100 leases in a minute", n)
		}
	})
}

func TestStuckRenewalDelaysNoOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, s *guardtest.Store, k *Keeper) {
		k.renewals.most = 2
		s.Inject(guardtest.Fault{Op: guardtest.OpRenew, Key: "stuck"})
		stuck := holdKey(t, k, "stuck", lasting(3*time.Second)) // for 0.85 s, which is too long for k
		h := holdKey(t, k, "k", lasting(1100*time.Millisecond))
		time.Sleep(2500 * time.Millisecond)
		endAll(t, h) // not lost while another was stuck
		s.Fail(nil)
		stuck.End()
	})
}

// halfDead is a store with a shard that answers no more: renewals of its keys hang
// until their context ends. Those that travel with them are done.
type halfDead struct {
	*guardtest.Store
	dead atomic.Bool
}

func (s *halfDead) Renew(ctx context.Context, rs []lease.RenewRequest) []lease.RenewReply {
	replies := s.Store.Renew(ctx, rs)
	if !s.dead.Load() {
		return replies
	}
	hangs := false
	for i, r := range rs {
		if strings.HasPrefix(r.Key, "dead") {
			hangs, replies[i] = true, lease.RenewReply{Err: context.DeadlineExceeded}
		}
	}
	if hangs {
		<-ctx.Done()
	}
	return replies
}

func TestADeadShardCostsOtherShardsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		s := &halfDead{Store: guardtest.NewStore()}
		k := New(s)
		var living, dead []*Hold
		for i := range n {
			living = append(living, holdKey(t, k, fmt.Sprint("living", i), lasting(10*time.Second)))
			if i%2 == 0 {
				dead = append(dead, holdKey(t, k, fmt.Sprint("dead", i), lasting(10*time.Second)))
			}
		}
		time.Sleep(5 * time.Second)
		s.dead.Store(true)
		time.Sleep(time.Minute)
		endAll(t, living...)
		s.dead.Store(false)
		for _, h := range dead {
			h.End()
		}
		drain(t, k)
	})
}

// What comes due while all flushers are stuck is renewed when the first is free.
func TestRenewalsGoOnWhenTheOnlyFlusherIsFreeAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, s *guardtest.Store, k *Keeper) {
		k.renewals.most = 1
		s.Inject(guardtest.Fault{Op: guardtest.OpRenew, Key: "stuck", Times: 1}) // for 1 s
		stuck := holdKey(t, k, "stuck", lasting(10*time.Second))
		h := holdKey(t, k, "k", lasting(2*time.Second)) // can do without for 1.1 s
		time.Sleep(time.Minute)
		endAll(t, stuck, h)
	})
}

func TestOnlyAttemptsWithOneTimeoutTravelTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, k *Keeper) {
		var holds []*Hold
		for i := range 6 {
			ttl := []time.Duration{10 * time.Second, time.Second}[i%2]
			holds = append(holds, holdKey(t, k, fmt.Sprint(i), lasting(ttl)))
		}
		k.mu.Lock()
		for _, h := range holds {
			k.unplanLocked(h.l)
			k.planLocked(h.l, time.Now())
		}
		total := 0
		for batch := k.takeDueLocked(); batch != nil; batch = k.takeDueLocked() {
			for _, other := range batch {
				if a, b := batch[0].terms.renewTimeout(0), other.terms.renewTimeout(0); a != b {
					t.Errorf("attempts of %v and %v in one call", a, b)
				}
			}
			total += len(batch)
		}
		if total != len(holds) {
			t.Errorf("%d renewals due at once, want %d", total, len(holds))
		}
		k.mu.Unlock()
		endAll(t, holds...)
	})
}

func TestARenewalIsNotBrokenOffForAnotherLeaseThatEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, s *guardtest.Store, k *Keeper) {
		s.Delay(0)
		var mu sync.Mutex
		failed := 0
		holds := make([]*Hold, 20)
		for i := range holds {
			holds[i] = holdKey(t, k, fmt.Sprint(i), usual)
			holds[i].Bind(listen(func(ev Event) {
				mu.Lock()
				defer mu.Unlock()
				if ev.Kind == EventRenewFailed {
					failed++
				}
			}), true)
		}
		s.Delay(500 * time.Millisecond)
		for _, h := range holds[:10] { // each while renewals are under way
			for n := s.Calls(guardtest.OpRenew); s.Calls(guardtest.OpRenew) == n; {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(time.Millisecond)
			endAll(t, h)
		}
		if failed > 0 {
			t.Errorf("%d renewals failed with the store up", failed)
		}
		s.Delay(0)
		endAll(t, holds[10:]...)
	})
}

func TestTwoAttemptsFitIntoTrust(t *testing.T) {
	for _, ttl := range []time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second, time.Hour} {
		o := Terms{TTL: ttl, Margin: ttl/2 - 1}
		if d := o.renewTimeout(0); d <= 0 || o.renewEvery()+2*d > ttl-o.Margin {
			t.Errorf("TTL %v: two attempts of %v do not fit", ttl, d)
		}
	}
}
