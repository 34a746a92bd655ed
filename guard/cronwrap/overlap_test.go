package cronwrap_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestTickIsDroppedWhileOtherCodeHoldsTheKey(t *testing.T) {
	fleet(t, "@every 10s").at(0, rival).at(15*s, free).at(25 * s).ran(20) // and nothing at 15
}

func TestKeyThatIsHeldBrieflyCostsNoTick(t *testing.T) {
	briefly := func(f *timeline) { f.store.HoldFor("report", "rival", 10*s+100*ms) }
	fleet(t, "@every 10s").at(0, briefly).at(11 * s).ran(10)
	fleet(t, "@every 10s", cronwrap.MutualExclusion()).at(0, briefly).at(11*s, func(f *timeline) {
		if n := f.store.Calls(guardtest.OpAcquire); n != 1 {
			t.Errorf("%d attempts, want one", n)
		}
	}).ran() // which drops it at once
}

func TestWaitOfTheGuardGoesBefore250ms(t *testing.T) {
	hold := func(d time.Duration) action {
		return func(f *timeline) { f.store.HoldFor("report", "rival", d) }
	}
	fleet(t, "@every 10s", guard.Wait(3*s)).at(0, hold(12*s)).at(15*s, ran(10), hold(9*s)).
		at(35*s).ran(10, 30) // 20 gave up at 23
}

func TestTicksThatComeDueDuringARunAreDropped(t *testing.T) {
	for name, opts := range map[string][]any{
		"at most once":         nil,
		"whatever the Wait":    {guard.Wait(m)},
		"catch up":             {cronwrap.CatchUp(100, h)},
		"at least once":        {cronwrap.AtLeastOnce(h)},
		"mutual exclusion":     {cronwrap.MutualExclusion()},
		"limit":                {guard.Limit(1)},
		"limit, at least once": {guard.Limit(1), cronwrap.AtLeastOnce(h)},
	} {
		for replicas := range 3 {
			t.Run(name, func(t *testing.T) {
				fleet(t, "@every 10s", opts...).lasting(25*s).at(0, start(replicas)).at(99*s).ran(10, 40, 70)
			})
		}
	}
}

func TestTickOfARunThatEndsWithin250msIsNotDropped(t *testing.T) {
	for name, opts := range map[string][]any{"no catch-up": nil, "catch-up": {cronwrap.CatchUp(10, h)}} {
		t.Run(name, func(t *testing.T) {
			fleet(t, "@every 10s", opts...).lasting(10*s+100*ms).at(0, skewed(400*ms)).at(45*s).ran(10, 20, 30, 40)
		})
	}
}

// One that came due earlier is dropped also if the run ends just then.
func TestTickThatComesDueMoreThan250msBeforeTheEndOfARunIsDropped(t *testing.T) {
	for name, c := range map[string]struct {
		opts []any
		want []int
	}{
		"at most once": {nil, []int{10, 30}},
		"catch up":     {[]any{cronwrap.CatchUp(10, h)}, []int{0, 10, 30}},
	} {
		t.Run(name, func(t *testing.T) {
			f := fleet(t, "@every 10s", c.opts...).job(func(f *timeline, ctx context.Context) error {
				if f.second(cronwrap.Tick(ctx)) == 10 {
					time.Sleep(10*s + 280*ms)
				}
				return nil
			})
			if name == "catch up" {
				f.at(s, other(-10, 0, true))
			}
			f.at(35 * s).ran(c.want...)
		})
	}
}

// 3 replicas, and a job that takes 90 s every minute: 10 runs, and as many ticks that
// are dropped.
func TestDroppedTickIsOneAcquireOfEachReplicaToObservers(t *testing.T) {
	for name, opts := range map[string][]any{
		"at most once": nil, "catch up": {cronwrap.CatchUp(5, h)}, "at least once": {cronwrap.AtLeastOnce(h)}, "wait": {cronwrap.OverlapWait()},
		"mutual exclusion": {cronwrap.MutualExclusion()},
	} {
		t.Run(name, func(t *testing.T) {
			seen := &acquires{}
			const ticks, replicas = 20, 3
			f := fleet(t, "@every 1m", append(opts, guard.Observe(seen))...).lasting(90*s).at(0, start(replicas-1)).at((ticks+1)*m - s)
			f.live(func(f *timeline) {
				if n := len(f.runs()); n < 10 {
					t.Errorf("%d runs: this test shows nothing", n)
				}
			})
			if n := seen.of["report"]; n > ticks*replicas {
				t.Errorf("%d acquires, want at most one for each of %d ticks and %d replicas", n, ticks, replicas)
			}
		})
	}
}

func TestOverlapWaitRunsTheLatestTickThatWaits(t *testing.T) {
	waiting := func(f *timeline) {
		if n := f.store.Waiting("report"); n > 3 {
			f.Errorf("%d wait", n)
		}
	}
	for name, c := range map[string]struct {
		opts     []any
		replicas int
		want     []int
	}{
		"one replica":    {nil, 1, []int{10, 30, 50, 80}}, // 20, 40, 60 and 70 were replaced
		"three":          {nil, 3, []int{10, 30, 50, 80}},
		"catch up":       {[]any{cronwrap.CatchUp(9, h)}, 2, []int{10, 20, 30, 40}},
		"the latest two": {[]any{cronwrap.CatchUp(2, 25*s)}, 1, []int{10, 20, 30, 40}},
		"at least once":  {[]any{cronwrap.AtLeastOnce(h)}, 2, []int{10, 20, 30, 40}},
	} {
		t.Run(name, func(t *testing.T) {
			fleet(t, "@every 10s", append(c.opts, cronwrap.OverlapWait())...).lasting(24*s).
				at(0, start(c.replicas-1)).at(89*s, waiting).ran(c.want...)
		})
	}
	fleet(t, "@every 10s", cronwrap.OverlapWait()).lasting(12*s).at(0, start(1)).at(45*s).ran(10, 20, 30)
}

// Other code holds the key while four ticks come due.
func TestOneTickWaitsForOtherCode(t *testing.T) {
	for name, c := range map[string]struct {
		opts []any
		want []int
	}{
		"drop":                   {nil, nil},
		"wait":                   {[]any{cronwrap.OverlapWait()}, []int{40}},
		"catch up":               {[]any{cronwrap.CatchUp(2, h)}, []int{10, 20, 30, 40}},
		"at least once":          {[]any{cronwrap.AtLeastOnce(h)}, []int{10, 20, 30, 40}},
		"mutual exclusion":       {[]any{cronwrap.MutualExclusion()}, nil},
		"mutual exclusion, wait": {[]any{cronwrap.MutualExclusion(), cronwrap.OverlapWait()}, []int{40}},
	} {
		t.Run(name, func(t *testing.T) {
			fleet(t, "@every 10s", c.opts...).at(0, rival).at(45*s, free).at(49 * s).ran(c.want...)
		})
	}
}

// Another replica holds the key, which has not claimed a tick.
func TestTicksThatWaitForWhatIsNoRunAreReported(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.OverlapWait()).at(5*s, start(1), func(f *timeline) {
		r := f.replicas[1]
		go func() {
			_ = r.guard.Do(context.Background(), "report", func(context.Context) error { time.Sleep(40 * s); return nil })
		}()
		r.cron.Stop()
	}).at(49*s, told(cronwrap.ErrMissed, 10, 20, 30)).ran(40)
}

// Replicas whose clocks differ, and runs that last longer than the time between ticks.
func TestRunsUnderMutualExclusionDoNotOverlap(t *testing.T) {
	for name, opts := range map[string][]any{
		"drop": {cronwrap.MutualExclusion()},
		"wait": {cronwrap.MutualExclusion(), cronwrap.OverlapWait()},
	} {
		t.Run(name, func(t *testing.T) {
			var running atomic.Int32
			f := later(t, "@every 1s", opts...).job(func(*timeline, context.Context) error {
				if n := running.Add(1); n != 1 {
					t.Errorf("%d runs at once", n)
				}
				time.Sleep(1500 * ms)
				running.Add(-1)
				return nil
			})
			for _, ahead := range skews {
				f.at(0, skewed(ahead))
			}
			f.at(20 * s).live(func(f *timeline) {
				if n := len(f.runs()); n < 9 {
					t.Errorf("%d runs of 1.5 s in 20 s: this test shows nothing", n)
				}
			})
		})
	}
}

func TestShutdownEndsTicksThatWait(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.OverlapWait()).at(0, rival).at(15*s, func(f *timeline) {
		if n := f.store.Waiting("report"); n != 1 {
			t.Fatalf("%d wait, want 1", n)
		}
	}, stop, func(f *timeline) {
		if d := time.Since(f.begun); d > 16*s {
			t.Errorf("Shutdown took until %v", d)
		}
	}, free).at(m).ran()
	// One that asks a store that is down.
	fleet(t, "@every 10s").at(0, down).at(10*s+500*ms, stop, up).at(m).ran()
}
