package cronwrap_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// Other code holds the key while four ticks come due.
func TestTwoTicksWaitWithRetryAndWaitElseOne(t *testing.T) {
	wait := cronwrap.Overlap(cronwrap.Wait)
	for name, c := range map[string]struct {
		opts []cronwrap.JobOption
		want []int
	}{
		"skip":                   {nil, nil},
		"skip and retry":         {[]cronwrap.JobOption{cronwrap.Retry()}, []int{10}},
		"wait":                   {[]cronwrap.JobOption{wait}, []int{40}},
		"wait and retry":         {[]cronwrap.JobOption{wait, cronwrap.Retry()}, []int{10, 40}},
		"mutual exclusion, skip": {[]cronwrap.JobOption{cronwrap.MutualExclusion()}, nil},
		"mutual exclusion, wait": {[]cronwrap.JobOption{cronwrap.MutualExclusion(), wait}, []int{40}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				r := newReplica(t, store, l)
				r.add(t, "@every 10s", "report", nil, c.opts...)
				store.Hold("report", "rival")
				r.cron.Start()
				time.Sleep(45 * time.Second)
				store.Expire("report")
				time.Sleep(4 * time.Second)
				l.mustBe(t, start, c.want...)
				l.noErrors(t)
			})
		})
	}
}

// Replicas whose clocks differ, and runs that last longer than the time between ticks.
func TestRunsUnderMutualExclusionDoNotOverlap(t *testing.T) {
	for name, opts := range map[string][]cronwrap.JobOption{
		"skip": {cronwrap.MutualExclusion()},
		"wait": {cronwrap.MutualExclusion(), cronwrap.Overlap(cronwrap.Wait)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, l := guardtest.NewStore(), new(log)
				var running, runs atomic.Int32
				for _, skew := range skews {
					r := newReplica(t, store, l)
					r.addSchedule(t, skewed{steps(time.Second), skew}, "report", func(context.Context) error {
						if n := running.Add(1); n != 1 {
							t.Errorf("%d runs at once", n)
						}
						runs.Add(1)
						time.Sleep(1500 * time.Millisecond)
						running.Add(-1)
						return nil
					}, opts...)
					r.cron.Start()
				}
				time.Sleep(20 * time.Second)
				if n := runs.Load(); n < 9 {
					t.Errorf("%d runs of 1.5 s in 20 s: this test shows nothing", n)
				}
				l.noErrors(t)
			})
		})
	}
}

// It was asking a store that is down.
func TestTickThatShutdownCancelsIsNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		store.Fail(errors.New("down"))
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil)
		r.cron.Start()
		time.Sleep(10*time.Second + 500*time.Millisecond)
		r.shutdown(t)
		l.mustBe(t, start)
		l.noErrors(t)
	})
}

// A guard that is shut down before the Runner is a mistake in the program.
func TestTickOfAGuardThatIsShutDownIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, l := time.Now(), new(log)
		r := newReplica(t, guardtest.NewStore(), l)
		r.add(t, "@every 10s", "report", nil)
		r.cron.Start()
		if err := r.guard.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		l.mustBe(t, start)
		l.reported(t, start, guard.ErrClosed, 10)
	})
}
