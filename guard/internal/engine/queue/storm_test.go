package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/internal/engine/keep"
)

// A storm mixes all that can happen to a queue: cancellation, impatience,
// mixed options, slow and lost and failing calls, lost wake-ups.

func TestHoldsStayExclusiveInAStorm(t *testing.T) { storm(t, false) }

// With keys deleted and stolen from outside, holds may overlap until the next
// renewal; but nothing may hang or be left.
func TestNothingIsLeftAfterAStormWithForeignInterference(t *testing.T) { storm(t, true) }

func storm(t *testing.T, interference bool) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) { stormOnce(t, seed, interference) })
	}
}

func stormOnce(t *testing.T, seed uint64, interference bool) {
	s := newStrict(t)
	engines := []*Engine{New(s), New(s)}
	keys := []string{"a", "b", "c"}
	opts := []Options{
		usual,
		{Terms: &keep.Terms{TTL: time.Second, Margin: 100 * time.Millisecond}, Wait: 50 * time.Millisecond},
		{Terms: &keep.Terms{TTL: 5 * time.Second, Margin: time.Second}},
	}
	var inside exclusive
	var wg sync.WaitGroup
	for i := range uint64(32) {
		rng := rand.New(rand.NewPCG(seed, i))
		wg.Go(func() {
			for range 60 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rng.IntN(400))*time.Millisecond)
				key := keys[rng.IntN(len(keys))]
				h, _, f := engines[rng.IntN(2)].Acquire(ctx, key, opts[rng.IntN(len(opts))])
				cancel()
				if f != nil {
					continue
				}
				if other := inside.enter(key, h); other != nil && other.Live() && h.Live() && !interference {
					t.Errorf("two live holds of %s", key)
				}
				time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
				inside.leave(key, h)
				h.End()
			}
		})
	}
	stop := make(chan struct{})
	var trouble sync.WaitGroup
	trouble.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 99))
		for {
			select {
			case <-stop:
				s.Fail(nil)
				s.Delay(0)
				return
			case <-time.After(time.Duration(rng.IntN(30)) * time.Millisecond):
				makeTrouble(s.Store, rng, keys[rng.IntN(len(keys))], interference)
			}
		}
	})
	wg.Wait()
	close(stop)
	trouble.Wait()
	time.Sleep(time.Minute)
	for _, e := range engines {
		closeEngine(t, e)
	}
	if left := s.Keys(); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

func makeTrouble(s *guardtest.Store, rng *rand.Rand, key string, interference bool) {
	kinds := 4
	if interference {
		kinds = 6
	}
	switch rng.IntN(kinds) {
	case 0:
		s.Inject(guardtest.Fault{Lost: rng.IntN(2) == 0, Times: 1})
	case 1:
		s.Inject(guardtest.Fault{Err: errors.New("reset"), Lost: rng.IntN(2) == 0, Times: 2})
	case 2:
		s.Delay(time.Duration(rng.IntN(30)) * time.Millisecond)
	case 3:
		s.Inject(guardtest.Fault{Op: guardtest.OpWake, Times: 1})
	case 4:
		s.Expire(key)
	case 5:
		s.HoldFor(key, "stranger", 20*time.Millisecond)
	}
}

// exclusive remembers who is inside, by key.
type exclusive struct {
	mu     sync.Mutex
	inside map[string]*keep.Hold
}

func (x *exclusive) enter(key string, h *keep.Hold) (other *keep.Hold) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.inside == nil {
		x.inside = make(map[string]*keep.Hold)
	}
	other = x.inside[key]
	x.inside[key] = h
	return other
}

func (x *exclusive) leave(key string, h *keep.Hold) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.inside[key] == h {
		delete(x.inside, key)
	}
}
