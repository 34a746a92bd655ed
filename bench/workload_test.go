package main

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestEveryWorkloadWorksWithEveryRival(t *testing.T) {
	for _, w := range workloads() {
		for _, r := range allRivals() {
			if !w.suits(r) {
				continue
			}
			t.Run(w.name+"/"+r.name, func(t *testing.T) {
				s := measured(t, w, r)
				if s[failures] != 0 {
					t.Errorf("%v runs failed", s[failures])
				}
				switch w.name {
				case garbage:
					if s[allocs] <= 0 || s[allocated] <= 0 {
						t.Errorf("nothing was allocated: %v", s)
					}
				case manyLeases, threeLeases:
					if s[leasesLost] != 0 || s[leaseRenewals] <= 0 { // so few leases drown in the noise of Redis' memory
						t.Errorf("leases were lost, or not renewed: %v", s)
					}
				case leaving, leaving3:
					if s[leavingErrors] != 0 || s[leasesLost] != 0 || s[leavingTook] <= 0 || s[leavingPingMax] <= 0 {
						t.Errorf("calls failed, or these figures cannot be true: %v", s)
					}
				default:
					if s[waitP50] <= 0 || s[waitMax] < s[waitP99] || s[commands] <= 0 && s[rate] < 1e5 {
						t.Errorf("these figures cannot be true: %v", s)
					}
				}
			})
		}
	}
}

// measured is a sample of at least one run: a busy machine may need longer
// than others for that. A rival may fail there twice: its defects are its own.
func measured(t *testing.T, w workload, r rival) sample {
	t.Helper()
	p, forgiven := fewMilliseconds(), 0
	if !r.ours() {
		forgiven = 2
	}
	for {
		s, err := w.measure(t.Context(), p, r)
		if (err != nil || s[failures] != 0) && forgiven > 0 {
			t.Logf("once more: %v failures, %v", s[failures], err)
			forgiven--
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := s[rate]; !ok || v > 0 {
			return s
		}
		if p.duration *= 2; p.duration > 20*time.Second && forgiven > 0 { // all its callers missed their wake-up
			p = fewMilliseconds()
			forgiven--
		} else if p.duration > 20*time.Second {
			t.Fatal("no function ran")
		}
	}
}

// busy is a race in which each holder stays inside for a while.
var busy = race{clients: 8, goroutines: 8, work: time.Millisecond}

func TestLockThatDoesNotExcludeFailsTheRun(t *testing.T) {
	p := fewMilliseconds()
	p.workloads = []workload{busy.as("busy", "")}
	p.rivals = []rival{fake("open door", func(_ context.Context, fn func(int64, bool)) error {
		fn(0, false)
		return nil
	})}
	r, err := p.run(t.Context(), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.broken(); !errors.Is(err, errBroken) {
		t.Errorf("the judge said %v", err)
	}
}

func TestTokensThatDoNotRiseFailTheRun(t *testing.T) {
	for name, step := range map[string]int64{"falling": -1, "standing": 0} {
		t.Run(name, func(t *testing.T) {
			_, err := busy.measure(t.Context(), fewMilliseconds(), fencedMutex(step))
			if !errors.Is(err, errBroken) {
				t.Errorf("the judge said %v", err)
			}
		})
	}
}

func TestMutexWithRisingTokensPasses(t *testing.T) {
	measured(t, busy.as("busy", ""), fencedMutex(1))
}

func TestRunsOfGuardMustNotFail(t *testing.T) {
	refuse := func(context.Context, func(int64, bool)) error { return errors.New("no") }
	if _, err := busy.measure(t.Context(), fewMilliseconds(), fake(nameGuard, refuse)); !errors.Is(err, errBroken) {
		t.Errorf("guard failed, and the judge said %v", err)
	}
	s, err := busy.measure(t.Context(), fewMilliseconds(), fake("another", refuse))
	if err != nil || s[failures] == 0 {
		t.Errorf("a rival failed: %v, %v; that should be counted and nothing more", s, err)
	}
}

func TestDoThatDoesNotRunCountsAsFailed(t *testing.T) {
	s, err := busy.measure(t.Context(), fewMilliseconds(), fake("idle", func(context.Context, func(int64, bool)) error { return nil }))
	if err != nil || s[failures] == 0 || s[rate] != 0 {
		t.Errorf("%v, %v", s, err)
	}
}

func TestWorkerThatIsNeverServedShows(t *testing.T) {
	opened := 0
	serve := func(_ context.Context, fn func(int64, bool)) error { fn(0, false); return nil }
	starve := func(ctx context.Context, _ func(int64, bool)) error { <-ctx.Done(); return ctx.Err() }
	s, err := race{clients: 2, goroutines: 1}.measure(t.Context(), fewMilliseconds(), rival{
		name: "favourite",
		open: func([]string, setup) (Locker, error) {
			opened++
			return fakeLocker{[]func(context.Context, func(int64, bool)) error{serve, starve}[opened-1]}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s[fairness] != 0 || s[waitMax] < fewMilliseconds().duration.Seconds() {
		t.Errorf("a worker starved, and the sample is %v", s)
	}
}

func TestInterruptedRunLeavesNoServerBehind(t *testing.T) {
	p := fewMilliseconds()
	p.duration = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	began := time.Now()
	if _, err := p.run(ctx, func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was interrupted", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	// TestMain sees a server that still runs by the goroutine that waits for it.
}

// fakeLocker is a lock that needs no server.
type fakeLocker struct {
	do func(ctx context.Context, fn func(int64, bool)) error
}

func fake(name string, do func(ctx context.Context, fn func(int64, bool)) error) rival {
	r := rival{name: name, open: func([]string, setup) (Locker, error) { return fakeLocker{do}, nil }}
	if name == nameGuard {
		r.module = ourModule
	}
	return r
}

func (l fakeLocker) Do(ctx context.Context, _ string, fn func(int64, bool)) error {
	return l.do(ctx, fn)
}
func (l fakeLocker) Close() error { return nil }

// fencedMutex excludes as it should; its tokens go by step.
func fencedMutex(step int64) rival {
	var mu sync.Mutex
	token := int64(1 << 40)
	return fake("mutex", func(_ context.Context, fn func(int64, bool)) error {
		mu.Lock()
		defer mu.Unlock()
		token += step
		fn(token, true)
		return nil
	})
}
