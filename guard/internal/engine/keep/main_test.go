package keep

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// usual is what most tests acquire with.
var usual = Terms{TTL: 10 * time.Second, Margin: time.Second}

// mustAcquire returns a hold of "k".
func mustAcquire(t testing.TB, k *Keeper, terms Terms) *Hold {
	t.Helper()
	return holdKey(t, k, "k", terms)
}

// holdKey acquires key, for which no other caller waits.
func holdKey(t testing.TB, k *Keeper, key string, terms Terms) *Hold {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	owner, sent := k.store.NewOwner(""), time.Now()
	reply, err := k.store.Acquire(ctx, lease.AcquireRequest{Key: key, Owner: owner, TTL: terms.TTL, Limit: terms.Limit, TokenCount: 1})
	if err != nil || !reply.Granted {
		t.Fatal(reply, err)
	}
	l := new(Lease)
	l.Init(k, key, nothing{})
	k.Lock()
	defer k.Unlock()
	l.BecomeLocked(Grant{Owner: owner, Fence: reply.Fence, TokenCount: reply.TokenCount}, &terms)
	l.ExtendLocked(sent, terms.TTL)
	return l.BeginLocked(time.Now().Add(terms.RenewPause()))
}

// nothing follows a lease.
type nothing struct{}

func (nothing) HandOver(*Lease) bool { return false }
func (nothing) OnFree(*Lease)        {}

// drain ends k and checks that nothing is left of it.
func drain(t testing.TB, k *Keeper) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	k.Drain(ctx)
	if n := k.Left(); n != 0 {
		t.Errorf("%d renewals, expiries and goroutines are left", n)
	}
}

// inBubble runs f in a synctest bubble with a Keeper over a store in memory, and
// checks that the Keeper leaves nothing.
func inBubble(t *testing.T, f func(t *testing.T, s *guardtest.Store, k *Keeper)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := guardtest.NewStore()
		k := New(s)
		f(t, s, k)
		drain(t, k)
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// endAll ends holds, none of which may be lost.
func endAll(t testing.TB, holds ...*Hold) {
	t.Helper()
	for _, h := range holds {
		if lost := h.End(); lost != nil {
			t.Errorf("%s, TTL %v: %v", h.Key(), h.TTL(), lost)
		}
	}
}

// endsLost ends h, which was lost because trust ran out.
func endsLost(t testing.TB, h *Hold) {
	t.Helper()
	if lost := h.End(); lost == nil || lost.Reason != Expired {
		t.Errorf("End() = %v, want the loss", lost)
	}
}
