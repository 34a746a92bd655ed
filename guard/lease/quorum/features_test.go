package quorum_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
)

// What package guard promises of Do and its options holds over three servers. One of
// them is away in half of the cases.
func TestGuardWorksOverThreeServers(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]bool{"all up": false, "one down": true} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 3)
			if down {
				f.servers[2].Kill()
			}
			a, b := f.guard(t), f.guard(t)
			for name, check := range map[string]func(t *testing.T, a, b *guard.Guard){
				"Do": doExcludes, "DoAll": doAllHoldsAll, "Lead": leadMovesOn, "Shared": sharedRunTogether,
				"nested": nestedRunsShare, "Ensure": ensureRenews, "MinHold": minHoldKeepsClosed, "MaxHold": maxHoldEnds,
				"Wait": waitTriesOnce, "Limit": limitOneWorks, "Holder": holderIsNamed,
				"Replace": latestWins,
			} {
				t.Run(name, func(t *testing.T) { check(t, a, b) })
			}
		})
	}
}

// while runs f while g holds key.
func while(t *testing.T, g *guard.Guard, key string, f func(ctx context.Context)) {
	t.Helper()
	must(t, g.Do(t.Context(), key, func(ctx context.Context) error { f(ctx); return ctx.Err() }))
}

func nothing(context.Context) error { return nil }

// tryOnce runs nothing under key if one try gets it. A try that a stall of the machine
// keeps from an answer tells nothing, and is repeated.
func tryOnce(t *testing.T, g *guard.Guard, key string) (err error) {
	for range 5 {
		err = g.With(guard.Wait(0)).Do(t.Context(), key, nothing)
		if !errors.Is(err, guard.ErrUnavailable) {
			break
		}
	}
	return err
}

// wantBusy wants that one try does not get key, which is held throughout.
func wantBusy(t *testing.T, g *guard.Guard, key string) {
	t.Helper()
	if err := tryOnce(t, g, key); !errors.Is(err, guard.ErrBusy) {
		t.Errorf("Do(%q), which is held: %v", key, err)
	}
}

func doExcludes(t *testing.T, a, b *guard.Guard) {
	while(t, a, "do", func(context.Context) {
		err := b.With(guard.Wait(2*time.Second)).Do(t.Context(), "do", nothing)
		if !errors.Is(err, guard.ErrBusy) {
			t.Errorf("Do of a held key: %v", err)
		}
		var e *guard.Error
		if !errors.As(err, &e) || e.Holder == "" || strings.Contains(e.Holder, "+") || e.RetryAfter <= 0 {
			t.Errorf("the error names no holder: %+v", e)
		}
	})
	must(t, b.Do(t.Context(), "do", nothing))
}

func doAllHoldsAll(t *testing.T, a, b *guard.Guard) {
	must(t, a.DoAll(t.Context(), []string{"x", "y", "z"}, func(ctx context.Context) error {
		for _, key := range []string{"x", "y", "z"} {
			wantBusy(t, b, key)
			if _, ok := guard.FenceOf(ctx, key); !ok {
				t.Errorf("no token of %s", key)
			}
		}
		return ctx.Err()
	}))
}

func leadMovesOn(t *testing.T, a, b *guard.Guard) {
	ctx, resign := context.WithCancel(t.Context())
	leading := make(chan string, 2)
	lead := func(g *guard.Guard, name string) chan error {
		done := make(chan error, 1)
		go func() {
			done <- g.Lead(ctx, "lead", func(ctx context.Context) error {
				leading <- name
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		return done
	}
	first := lead(a, "a")
	<-leading
	second := lead(b, "b")
	select {
	case name := <-leading:
		t.Errorf("%s leads beside another", name)
	case <-time.After(100 * time.Millisecond):
	}
	resign()
	for _, led := range []chan error{first, second} {
		if err := outcome(t, led); !errors.Is(err, context.Canceled) {
			t.Errorf("Lead: %v", err)
		}
	}
	must(t, b.Lead(t.Context(), "lead", nothing))
}

func sharedRunTogether(t *testing.T, a, b *guard.Guard) {
	shared := guard.Shared()
	while(t, a.With(shared), "shared", func(context.Context) {
		while(t, b.With(shared), "shared", func(context.Context) {
			wantBusy(t, b, "shared") // for an exclusive run
		})
	})
	while(t, a, "shared", func(context.Context) {
		wantBusy(t, b.With(shared), "shared")
	})
}

func nestedRunsShare(t *testing.T, a, _ *guard.Guard) {
	while(t, a, "nested", func(ctx context.Context) {
		outer, _ := guard.Fence(ctx)
		must(t, a.Do(ctx, "nested", func(ctx context.Context) error {
			if inner, ok := guard.Fence(ctx); !ok || inner != outer {
				t.Errorf("token %d inside %d", inner, outer)
			}
			return nil
		}))
	})
}

func ensureRenews(t *testing.T, a, _ *guard.Guard) {
	while(t, a.With(guard.TTL(10*time.Second)), "ensure", func(ctx context.Context) {
		time.Sleep(2500 * time.Millisecond) // 6.5 s are proven now: only a renewal proves more
		var err error
		for range 5 { // one attempt takes up to a second, which a stall of the machine may use up
			if err = guard.Ensure(ctx, 7*time.Second); !errors.Is(err, guard.ErrUnproven) {
				break
			}
		}
		must(t, err)
	})
}

func minHoldKeepsClosed(t *testing.T, a, b *guard.Guard) {
	var took time.Duration
	for range 5 { // the fastest round counts: a stall of the machine delays the others
		began := time.Now()
		must(t, a.With(guard.MinHold(500*time.Millisecond)).Do(t.Context(), "minhold", nothing))
		if err := b.With(guard.Wait(0)).Do(t.Context(), "minhold", nothing); err == nil && time.Since(began) < 500*time.Millisecond {
			t.Error("the key was not kept closed")
		}
		must(t, b.Do(t.Context(), "minhold", nothing))
		if took = time.Since(began); took < 495*time.Millisecond {
			t.Errorf("free after %v", took)
		}
		if took < 5*time.Second { // else it was closed until the TTL ended
			return
		}
	}
	t.Errorf("free after %v", took)
}

func maxHoldEnds(t *testing.T, a, _ *guard.Guard) {
	err := a.With(guard.MaxHold(200*time.Millisecond)).Do(t.Context(), "maxhold", func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !errors.Is(err, guard.ErrMaxHold) {
		t.Errorf("Do: %v", err)
	}
}

func waitTriesOnce(t *testing.T, a, b *guard.Guard) {
	while(t, a, "wait", func(context.Context) {
		began := time.Now()
		wantBusy(t, b, "wait")
		if took := time.Since(began); took > 15*time.Second { // five tries without an answer take less
			t.Errorf("one try took %v", took)
		}
	})
	must(t, tryOnce(t, b, "wait"))
}

func limitOneWorks(t *testing.T, a, b *guard.Guard) {
	one := guard.Limit(1)
	while(t, a.With(one), "limit", func(context.Context) {
		wantBusy(t, b.With(one), "limit")
	})
	err := a.With(guard.Limit(2)).Do(t.Context(), "limit", nothing)
	if !errors.Is(err, guard.ErrUnavailable) || !errors.Is(err, lease.ErrRefused) || !strings.Contains(err.Error(), "Limit(2) cannot be kept over several servers") {
		t.Errorf("Do under Limit(2): %v", err)
	}
}

func holderIsNamed(t *testing.T, a, b *guard.Guard) {
	while(t, a, "holder", func(ctx context.Context) {
		h, err := b.Holder(ctx, "holder")
		if must(t, err); h.Owner == "" || h.Remaining <= 0 {
			t.Errorf("%+v", h)
		}
	})
	h, err := b.Holder(t.Context(), "holder")
	if must(t, err); h.Owner != "" {
		t.Errorf("%+v of a free key", h)
	}
}

// A waiter is woken by the release. One that polls would wait 60 ms on average. The median counts: a
// stall of the machine is in one wait, and would be in the mean of all.
func TestWaiterIsWokenByARelease(t *testing.T) {
	f := newFleet(t, 3)
	a, b := f.guard(t), f.guard(t)
	var waits []time.Duration
	for range 20 {
		var released atomic.Int64
		got := make(chan error, 1)
		while(t, a, "k", func(context.Context) {
			go func() {
				got <- b.Do(t.Context(), "k", func(context.Context) error {
					waits = append(waits, time.Duration(time.Now().UnixNano()-released.Load()))
					return nil
				})
			}()
			time.Sleep(150 * time.Millisecond) // it has asked, and its inbox is there
			released.Store(time.Now().UnixNano())
		})
		must(t, outcome(t, got))
	}
	slices.Sort(waits)
	if wait := waits[len(waits)/2]; wait > 40*time.Millisecond {
		t.Errorf("a waiter runs %v after the release", wait)
	} else {
		t.Logf("a waiter runs %v after the release", wait)
	}
}
