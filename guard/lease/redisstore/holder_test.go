package redisstore_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func ids(holders []lease.Holder) (all []string) {
	for _, h := range holders {
		all = append(all, h.ID)
	}
	return all
}

// A process that is stopped loses its lease while it is asked: it was not told.
func TestRevokeHolderTellsAnAnswerFromTheEndOfALease(t *testing.T) {
	t.Run("stopped", func(t *testing.T) {
		p := newProcess(t, redistest.Start(t).Client(t))
		owner, next := p.NewOwner(""), p.NewOwner("")
		p.granted("k", owner)
		p.refused("k", next, 0)
		time.AfterFunc(300*time.Millisecond, func() { p.client.PExpire(t.Context(), "guard:k", 1) })
		got, err := p.RevokeHolder(within(t, 10*time.Second), lease.Order{Key: "k", Reason: "test"})
		if err != nil || got.Told != nil || !slices.Equal(ids(got.Silent), []string{owner}) {
			t.Errorf("RevokeHolder() = %+v, %v", got, err)
		}
	})
	t.Run("answers as it ends", func(t *testing.T) {
		p := newProcess(t, redistest.Start(t).Client(t))
		for i := range 5 { // an answer that a stall of the machine delays by half a second is not waited for
			key, owner, next := fmt.Sprint("k", i), p.NewOwner(""), p.NewOwner("")
			p.granted(key, owner)
			p.refused(key, next, 0)
			end := p.Listen(func(s lease.Stop) bool {
				p.release(key, owner) // before the answer is sent
				time.Sleep(50 * time.Millisecond)
				return s.Owner == owner
			})
			got, err := p.RevokeHolder(within(t, 10*time.Second), lease.Order{Key: key, Reason: "test"})
			end()
			if must(t, err); slices.Equal(ids(got.Told), []string{owner}) && got.Silent == nil {
				return
			}
			t.Logf("RevokeHolder() = %+v", got)
		}
		t.Error("none was told of those that answered as their leases ended")
	})
}

// What is meant for one holder does not reach the next, which the server decides.
func TestAnOrderToAHolderReachesNoOther(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t), redisstore.Owner("worker"))
	gone, next := p.NewOwner(""), p.NewOwner("")
	p.granted("k", next)
	other := lease.HolderOf(gone, 0)
	for _, name := range []string{other.ID, other.ShortID(), "no-process", "worker"} {
		_, revoked := p.RevokeHolder(within(t, 5*time.Second), lease.Order{Key: "k", Holder: name})
		_, broken := p.BreakHolder(within(t, 5*time.Second), lease.Order{Key: "k", Holder: name})
		if !errors.Is(revoked, redisstore.ErrOtherHolder) || !errors.Is(broken, redisstore.ErrOtherHolder) {
			t.Errorf("for %q: %v, %v", name, revoked, broken)
		}
	}
	if p.value("guard:k") != next || p.client.Exists(t.Context(), p.mark("k")).Val() != 0 {
		t.Error("the holder was told, or has lost the key")
	}
	holder := lease.HolderOf(next, 0)
	for _, name := range []string{holder.ID, holder.ShortID(), holder.Process} {
		got, err := p.BreakHolder(within(t, 5*time.Second), lease.Order{Key: "k", Holder: name})
		if err != nil || !slices.Equal(ids(got.Silent), []string{next}) || p.value("guard:k") != "" {
			t.Errorf("for %q: %+v, %v", name, got, err)
		}
		if got, err = p.BreakHolder(t.Context(), lease.Order{Key: "k", Holder: name}); err != nil || got.Told != nil || got.Silent != nil {
			t.Errorf("of a free key: %+v, %v", got, err)
		}
		p.granted("k", next)
	}
}

// Under a limit the other permits stay, and the one that was broken goes to the next in line.
func TestBreakHolderEndsOnePermitOfALimit(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	take := func(owner string, join bool) bool {
		r, err := p.acquire(lease.AcquireRequest{Key: "k", Owner: owner, Limit: 2, Join: join})
		must(t, err)
		return r.Granted
	}
	a, b, next := p.NewOwner(""), p.NewOwner(""), p.NewOwner("")
	if !take(a, false) || !take(b, false) || take(next, true) {
		t.Fatal("not two of three")
	}
	got, err := p.BreakHolder(within(t, 5*time.Second), lease.Order{Key: "k", Holder: a})
	if err != nil || !slices.Equal(ids(got.Silent), []string{a}) {
		t.Errorf("BreakHolder() = %+v, %v", got, err)
	}
	i, err := p.Inspect(t.Context(), "k")
	must(t, err)
	holding, want := ids(i.Holders), []string{b, next}
	slices.Sort(holding)
	slices.Sort(want)
	if !slices.Equal(holding, want) || i.Limit != 2 {
		t.Errorf("%v hold it, want %v", holding, want)
	}
	got, err = p.RevokeHolder(within(t, time.Second), lease.Order{Key: "k", Holder: b})
	if !errors.Is(err, redisstore.ErrNoAnswer) || !slices.Equal(ids(got.Silent), []string{b}) {
		t.Errorf("RevokeHolder() = %+v, %v, and nobody listens", got, err)
	}
	if asked := p.client.ZRange(t.Context(), p.mark("k"), 0, -1).Val(); slices.Contains(asked, next) || !slices.Contains(asked, b) {
		t.Errorf("asked were %v, want %v", asked, b)
	}
}
