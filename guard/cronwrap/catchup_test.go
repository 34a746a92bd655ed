package cronwrap_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestMissedTicksAreBackfilledWhenTheFleetIsBack(t *testing.T) {
	for name, c := range map[string]struct {
		opts []cronwrap.JobOption
		want []int
	}{
		"none":             {nil, nil},
		"once":             {[]cronwrap.JobOption{cronwrap.CatchUp(cronwrap.Once, time.Hour)}, []int{50}},
		"all":              {[]cronwrap.JobOption{cronwrap.CatchUp(cronwrap.All(100), time.Hour)}, []int{20, 30, 40, 50}},
		"the latest three": {[]cronwrap.JobOption{cronwrap.CatchUp(cronwrap.All(3), time.Hour)}, []int{30, 40, 50}},
		"not older than":   {[]cronwrap.JobOption{cronwrap.CatchUp(cronwrap.All(100), 15*time.Second)}, []int{40, 50}},
		"with retry":       {[]cronwrap.JobOption{cronwrap.CatchUp(cronwrap.All(100), time.Hour), cronwrap.Retry()}, []int{20, 30, 40, 50}},
		"with wait":        {[]cronwrap.JobOption{cronwrap.CatchUp(cronwrap.All(100), time.Hour), cronwrap.Overlap(cronwrap.Wait)}, []int{20, 30, 40, 50}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				before := newReplica(t, store, l)
				before.add(t, "@every 10s", "report", nil, c.opts...)
				before.cron.Start()
				time.Sleep(15 * time.Second)
				before.shutdown(t)
				time.Sleep(38 * time.Second) // now it is 53
				for range 3 {
					r := newReplica(t, store, l)
					r.add(t, "@every 10s", "report", sleeping(time.Second), c.opts...)
					r.cron.Start()
				}
				time.Sleep(10 * time.Second)
				want := append([]int{10}, c.want...)
				l.mustBe(t, start, append(want, 60)...)
				l.noErrors(t)
			})
		})
	}
}

func TestMissedTicksAreBackfilledOnceByTheNextFleetOnRedis(t *testing.T) {
	t.Parallel()
	server, l := redistest.Start(t), new(log)
	const step = 500 * time.Millisecond
	// With Skip, a tick that comes due during a backfill is dropped.
	opts := []cronwrap.JobOption{cronwrap.CatchUp(cronwrap.All(1000), time.Minute), cronwrap.Overlap(cronwrap.Wait)}
	for range 3 { // fleets, one after the other
		var fleet []replica
		for range 3 {
			r := newReplica(t, onRedis(t, server.Addr()), l)
			r.addSchedule(t, steps(step), "report", work, opts...)
			r.cron.Start()
			fleet = append(fleet, r)
		}
		time.Sleep(5 * step)
		for _, r := range fleet {
			r.shutdown(t)
		}
		time.Sleep(10 * step)
	}
	l.everyTickOnce(t, step, 30, 1)
	l.noErrors(t)
}

func TestJobThatNeverRanHasMissedNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, l := time.Now(), new(log)
		time.Sleep(time.Hour)
		r := newReplica(t, guardtest.NewStore(), l)
		r.add(t, "@every 10s", "report", nil, cronwrap.CatchUp(cronwrap.All(100), time.Hour))
		r.cron.Start()
		time.Sleep(15 * time.Second)
		l.mustBe(t, start, 3610)
	})
}

// A tick that Skip dropped was not missed, also if a replica starts just then.
func TestSkippedTicksAreNotBackfilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		first := newReplica(t, store, l)
		first.add(t, "@every 10s", "report", sleeping(35*time.Second), cronwrap.CatchUp(cronwrap.All(100), time.Hour))
		first.cron.Start()
		time.Sleep(25 * time.Second)
		second := newReplica(t, store, l)
		second.add(t, "@every 10s", "report", nil, cronwrap.CatchUp(cronwrap.All(100), time.Hour))
		second.cron.Start()
		time.Sleep(22 * time.Second)
		l.mustBe(t, start, 10)
		l.noErrors(t)
	})
}

func TestTicksMissedInAnOutageAreBackfilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil, cronwrap.CatchUp(cronwrap.All(100), time.Hour))
		r.cron.Start()
		time.Sleep(15 * time.Second)
		store.Fail(errors.New("down"))
		time.Sleep(20 * time.Second)
		store.Fail(nil)
		time.Sleep(10 * time.Second)
		l.mustBe(t, start, 10, 20, 30, 40)
		if n := len(l.failures()); n != 2 {
			t.Errorf("%d errors were reported, want 2", n)
		}
	})
}

func TestCatchingUpAwaitsAStoreThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		opt := cronwrap.CatchUp(cronwrap.Once, 48*time.Hour)
		before := newReplica(t, store, l)
		before.add(t, "@every 24h", "report", nil, opt)
		before.cron.Start()
		time.Sleep(25 * time.Hour)
		before.shutdown(t)
		time.Sleep(25 * time.Hour)
		store.Fail(errors.New("down"))
		r := newReplica(t, store, l)
		r.add(t, "@every 24h", "report", nil, opt)
		r.cron.Start()
		time.Sleep(time.Hour)
		store.Fail(nil)
		time.Sleep(time.Hour)
		l.mustBe(t, start, 24*3600, 48*3600)
		if errs := l.failures(); len(errs) != 1 || !errors.Is(errs[0], guard.ErrUnavailable) {
			t.Errorf("reported: %v, want ErrUnavailable once", errs)
		}
	})
}

func TestTickThatWasBegunAndNotDoneIsBackfilledWithRetry(t *testing.T) {
	for name, c := range map[string]struct {
		opts []cronwrap.JobOption
		want []int
	}{
		"at most once":  {nil, []int{10, 20, 30}},
		"at least once": {[]cronwrap.JobOption{cronwrap.Retry()}, []int{10, 10, 20, 30}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				opts := slices.Concat(c.opts, []cronwrap.JobOption{cronwrap.CatchUp(cronwrap.All(10), time.Hour)})
				before := newReplica(t, store, l)
				before.add(t, "@every 10s", "report", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, opts...)
				before.cron.Start()
				time.Sleep(15 * time.Second)
				gone, cancel := context.WithCancel(t.Context())
				cancel()
				if err := before.Shutdown(gone); err == nil {
					t.Error("Shutdown() = nil, though the run had to be cancelled")
				}
				time.Sleep(20 * time.Second)
				r := newReplica(t, store, l)
				r.add(t, "@every 10s", "report", nil, opts...)
				r.cron.Start()
				time.Sleep(time.Second)
				l.mustBe(t, start, c.want...)
			})
		})
	}
}

// A tick that comes due during a backfill does not overtake it.
func TestNoTickOvertakesABackfill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		opt := cronwrap.CatchUp(cronwrap.All(100), time.Hour)
		before := newReplica(t, store, l)
		before.add(t, "@every 10s", "report", nil, opt)
		before.cron.Start()
		time.Sleep(15 * time.Second)
		before.shutdown(t)
		time.Sleep(44900 * time.Millisecond) // 59.9
		for range 2 {
			r := newReplica(t, store, l)
			r.add(t, "@every 10s", "report", sleeping(2*time.Second), opt, cronwrap.Overlap(cronwrap.Wait))
			r.cron.Start()
		}
		time.Sleep(25 * time.Second)
		l.mustBe(t, start, 10, 20, 30, 40, 50, 60, 70, 80)
	})
}

// The next tick of a rare job is too far away to backfill it.
func TestRareTickMissedInAnOutageIsBackfilledSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		for range 2 {
			r := newReplica(t, store, l)
			r.add(t, "@every 24h", "report", nil, cronwrap.CatchUp(cronwrap.Once, time.Hour))
			r.cron.Start()
		}
		// A job that never ran has missed no tick, so it runs once before.
		time.Sleep(48*time.Hour - 15*time.Second)
		store.Fail(errors.New("down"))
		time.Sleep(30 * time.Second)
		store.Fail(nil)
		time.Sleep(5 * time.Minute)
		l.mustBe(t, start, 24*3600, 48*3600)
		if errs := l.failures(); len(errs) != 2 {
			t.Errorf("reported: %v, want one error of each replica", errs)
		}
	})
}

// late is a schedule whose activations come after their ticks by a fixed delay.
func late(step, by time.Duration) cron.Schedule { return skewed{steps(step), -by} }

func TestEarlierTickWithALateActivationIsBackfilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		opt := cronwrap.CatchUp(cronwrap.All(100), time.Hour)
		r := newReplica(t, store, l)
		r.addSchedule(t, late(10*time.Second, 15*time.Second), "report", nil, opt)
		r.cron.Start()
		time.Sleep(36 * time.Second) // 20 has run, at 35
		r.cron.Stop()
		time.Sleep(16 * time.Second) // 30 would have run, at 45
		r.cron.Start()
		time.Sleep(10 * time.Second)
		l.mustBe(t, start, -10, 0, 10, 20, 30, 40)
	})
}

func TestTicksWhileCronWasStoppedAreBackfilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil, cronwrap.CatchUp(cronwrap.All(100), time.Hour))
		r.cron.Start()
		time.Sleep(15 * time.Second)
		r.cron.Stop()
		time.Sleep(30 * time.Second)
		r.cron.Start()
		time.Sleep(10 * time.Second)
		l.mustBe(t, start, 10, 20, 30, 40, 50)
		l.noErrors(t)
	})
}

func TestNothingRunsInAProcessThatDoesNotStartCron(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		opt := cronwrap.CatchUp(cronwrap.All(100), time.Hour)
		before := newReplica(t, store, l)
		before.add(t, "@every 10s", "report", nil, opt)
		before.cron.Start()
		time.Sleep(15 * time.Second)
		before.shutdown(t)
		time.Sleep(20 * time.Second)
		r := newReplica(t, store, l)
		id := r.add(t, "@every 10s", "report", nil, opt)
		if next := r.cron.Entry(id).Schedule.Next(time.Now()); !next.Equal(start.Add(40 * time.Second)) {
			t.Errorf("Next() = %v", next)
		}
		time.Sleep(2 * time.Second)
		l.mustBe(t, start, 10)
		r.cron.Start()
		time.Sleep(time.Second)
		l.mustBe(t, start, 10, 20, 30)
	})
}

// The store does not remember why a tick did not run.
func TestTicksDroppedForOtherCodeCountAsMissedAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		opt := cronwrap.CatchUp(cronwrap.All(100), time.Hour)
		before := newReplica(t, store, l)
		before.add(t, "@every 10s", "report", nil, opt)
		before.cron.Start()
		time.Sleep(15 * time.Second)
		store.Hold("report", "rival")
		time.Sleep(20 * time.Second)
		store.Expire("report")
		time.Sleep(time.Second)
		l.mustBe(t, start, 10)
		before.shutdown(t)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil, opt)
		r.cron.Start()
		time.Sleep(time.Second)
		l.mustBe(t, start, 10, 20, 30)
		l.noErrors(t)
	})
}

func TestBackfilledTicksAreThoseOfTheNewSpec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		opt := cronwrap.CatchUp(cronwrap.All(100), time.Hour)
		before := newReplica(t, store, l)
		before.add(t, "@every 10s", "report", nil, opt)
		before.cron.Start()
		time.Sleep(15 * time.Second)
		before.shutdown(t)
		time.Sleep(18 * time.Second)
		r := newReplica(t, store, l)
		r.add(t, "@every 5s", "report", nil, opt)
		r.cron.Start()
		time.Sleep(time.Second)
		l.mustBe(t, start, 10, 15, 20, 25, 30)
	})
}

func TestTickThatWasDroppedForOtherCodeIsBackfilledWithTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		for range 2 {
			r := newReplica(t, store, l)
			r.add(t, "@every 10s", "report", nil, cronwrap.CatchUp(cronwrap.All(10), time.Hour))
			r.cron.Start()
		}
		time.Sleep(15 * time.Second)
		store.Hold("report", "rival")
		time.Sleep(10 * time.Second)
		store.Expire("report")
		time.Sleep(20 * time.Second)
		l.mustBe(t, start, 10, 20, 30, 40)
		l.noErrors(t)
	})
}

func TestShutdownEndsABackfill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		opt := cronwrap.CatchUp(cronwrap.All(100), time.Hour)
		before := newReplica(t, store, l)
		before.add(t, "@every 10s", "report", nil, opt)
		before.cron.Start()
		time.Sleep(15 * time.Second)
		before.shutdown(t)
		time.Sleep(38 * time.Second) // 20 to 50 are missed
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", sleeping(2*time.Second), opt)
		r.cron.Start()
		time.Sleep(time.Second)
		began := time.Now()
		if err := r.Shutdown(t.Context()); err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("Shutdown() = %v after %v", err, time.Since(began))
		}
		l.mustBe(t, start, 10, 20)
		l.noErrors(t)
		next := newReplica(t, store, l)
		next.add(t, "@every 10s", "report", nil, opt)
		next.cron.Start()
		time.Sleep(time.Second)
		l.mustBe(t, start, 10, 20, 30, 40, 50)
	})
}

// The lease is lost in the second of four ticks: the others do not run without it,
// but later. A backfilled tick that fails is reported like any other.
func TestRestIsBackfilledAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		opt := cronwrap.CatchUp(cronwrap.All(100), time.Hour)
		before := newReplica(t, store, l)
		before.add(t, "@every 10s", "report", nil, opt)
		before.cron.Start()
		time.Sleep(15 * time.Second)
		before.shutdown(t)
		time.Sleep(36 * time.Second) // 51
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", func(ctx context.Context) error {
			switch len(l.runs()) {
			case 2:
				return errJob
			case 3:
				store.Expire("report")
				<-ctx.Done()
			}
			return nil
		}, opt)
		r.cron.Start()
		time.Sleep(8 * time.Second) // 59: no tick has come due
		l.mustBe(t, start, 10, 20, 30, 40, 50)
		errs := l.failures()
		if len(errs) < 2 || !errors.Is(errs[0], errJob) || !errs[0].Tick.Equal(start.Add(20*time.Second)) ||
			!errors.Is(errs[1], guard.ErrLost) {
			t.Errorf("reported: %v, want the job's error of 20 and ErrLost", errs)
		}
	})
}

func TestCatchingUpGoesOnAfterAJobThatExitedItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		opt := cronwrap.CatchUp(cronwrap.All(100), time.Hour)
		before := newReplica(t, store, l)
		before.add(t, "@every 10s", "report", nil, opt)
		before.cron.Start()
		time.Sleep(15 * time.Second)
		before.shutdown(t)
		time.Sleep(20 * time.Second) // 35
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", func(context.Context) error {
			if len(l.runs()) == 2 {
				runtime.Goexit()
			}
			return nil
		}, opt)
		r.cron.Start()
		time.Sleep(6 * time.Second) // 41
		l.mustBe(t, start, 10, 20, 30, 40)
		time.Sleep(4 * time.Second)
		store.Fail(errors.New("down")) // 45 to 55: a goroutine backfills 50
		time.Sleep(10 * time.Second)
		store.Fail(nil)
		time.Sleep(4900 * time.Millisecond) // 59.9
		l.mustBe(t, start, 10, 20, 30, 40, 50)
	})
}

// The intervals at which it asks a store that is down grow.
func TestCatchingUpLeavesAStoreThatIsDownInPeace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 24h", "report", nil, cronwrap.CatchUp(cronwrap.Once, time.Hour))
		store.Fail(errors.New("down"))
		r.cron.Start()
		time.Sleep(5 * time.Minute)
		before := store.Calls(guardtest.OpLastTick)
		time.Sleep(time.Hour)
		if n := store.Calls(guardtest.OpLastTick) - before; n > 60*20 || n < 60 {
			t.Errorf("%d calls in an hour", n)
		}
		store.Fail(nil)
	})
}
