package cronwrap_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/internal/redistest"
)

// steps is a schedule that comes due at all multiples of an interval.
type steps time.Duration

func (s steps) Next(t time.Time) time.Time {
	return t.Add(time.Duration(s) - time.Duration(t.UnixNano()%int64(s)))
}

// skewed is the schedule of a replica whose clock is ahead of the true time: every
// tick comes so much too early.
type skewed struct {
	cron.Schedule
	ahead time.Duration
}

func (s skewed) Next(t time.Time) time.Time  { return s.Schedule.Next(t.Add(s.ahead)).Add(-s.ahead) }
func (s skewed) Tick(at time.Time) time.Time { return at.Add(s.ahead) }
func (s skewed) String() string              { return s.ahead.String() }

var (
	skews = []time.Duration{-400 * time.Millisecond, 0, 500 * time.Millisecond, 900 * time.Millisecond}
	work  = sleeping(time.Millisecond)
)

func TestEachTickRunsOnceAcrossSkewedReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		for _, skew := range skews {
			r := newReplica(t, store, l)
			r.addSchedule(t, skewed{steps(time.Second), skew}, "report", work)
			r.cron.Start()
		}
		time.Sleep(60*time.Second + 500*time.Millisecond)
		l.everyTickOnce(t, time.Second, 60, 0)
		l.noErrors(t)
	})
}

// A mutex alone does not prevent it: the job is over before the next clock ticks.
func TestMutualExclusionAloneRunsATickOnEachSkewedReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		for _, skew := range skews {
			r := newReplica(t, store, l)
			r.addSchedule(t, skewed{steps(time.Second), skew}, "report", work, cronwrap.MutualExclusion())
			r.cron.Start()
		}
		time.Sleep(10 * time.Second)
		if n := len(l.runs()); n < 35 {
			t.Errorf("%d runs of 10 ticks: this test is no control of the others", n)
		}
	})
}

func TestEachTickRunsOnceAcrossSkewedReplicasOnRedis(t *testing.T) {
	t.Parallel()
	const step = time.Second
	server, l := redistest.Start(t), new(log)
	for _, skew := range skews {
		r := newReplica(t, onRedis(t, server.Addr()), l)
		r.addSchedule(t, skewed{steps(step), skew}, "report", work)
		r.cron.Start()
	}
	time.Sleep(56 * step)
	l.everyTickOnce(t, step, 53, 3) // 50 at the least
	l.noErrors(t)
}

// Equal clocks make the replicas collide at every tick.
func TestEachTickRunsOnceAcrossReplicasWithEqualClocksOnRedis(t *testing.T) {
	t.Parallel()
	const step = 100 * time.Millisecond
	server := redistest.Start(t)
	for name, opts := range map[string][]cronwrap.JobOption{
		"skip":       nil,
		"skip retry": {cronwrap.Retry()},
		"wait":       {cronwrap.Overlap(cronwrap.Wait)},
		"wait retry": {cronwrap.Overlap(cronwrap.Wait), cronwrap.Retry()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := new(log)
			for range 4 {
				r := newReplica(t, onRedis(t, server.Addr()), l)
				r.addSchedule(t, steps(step), name, work, opts...)
				r.cron.Start()
			}
			time.Sleep(100 * step)
			ticks := make(map[time.Time]int)
			for _, tick := range l.runs() {
				if ticks[tick]++; ticks[tick] > 1 {
					t.Errorf("tick %v ran %d times", tick, ticks[tick])
				}
			}
			// On a busy machine a tick can come so late that the next overtakes it.
			if len(ticks) < 50 {
				t.Errorf("%d of 100 ticks ran", len(ticks))
			}
			l.noErrors(t)
		})
	}
}

func TestTickFarAheadOfTheStoresClockIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		wrong := newReplica(t, store, l)
		wrong.addSchedule(t, skewed{steps(time.Second), 10 * 365 * 24 * time.Hour}, "report", work)
		wrong.cron.Start()
		time.Sleep(5500 * time.Millisecond)
		if n := len(l.runs()); n != 0 {
			t.Errorf("%d runs, want none", n)
		}
		if errs := l.failures(); len(errs) != 5 || !errors.Is(errs[0], cronwrap.ErrSkew) {
			t.Errorf("reported: %v, want five times ErrSkew", errs)
		}
		right := newReplica(t, store, l)
		right.addSchedule(t, steps(time.Second), "report", work)
		right.cron.Start()
		time.Sleep(5 * time.Second)
		if n := len(l.runs()); n != 5 {
			t.Errorf("%d runs where the clock is right, want 5", n)
		}
	})
}

func TestMaxSkewIsHowFarAClockMayBeAhead(t *testing.T) {
	for ahead, runs := range map[time.Duration]int{9 * time.Second: 3, 11 * time.Second: 0} {
		synctest.Test(t, func(t *testing.T) {
			g, err := guard.New(guardtest.NewStore())
			if err != nil {
				t.Fatal(err)
			}
			c, l := cron.New(cron.WithLocation(time.UTC)), new(log)
			r := replica{cronwrap.New(c, g, cronwrap.MaxSkew(10*time.Second), cronwrap.OnError(l.failed)), c, g, l}
			r.addSchedule(t, skewed{steps(time.Second), ahead}, "report", work)
			c.Start()
			time.Sleep(3500 * time.Millisecond)
			r.shutdown(t)
			if n := len(l.runs()); n != runs || len(l.failures()) != 3-runs {
				t.Errorf("%v ahead: %d of 3 ticks ran, want %d; reported: %v", ahead, n, runs, l.failures())
			}
		})
	}
}

func TestLateReplicaNeverRunsATickThatIsOlderThanTheLastClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		for _, skew := range []time.Duration{0, -2500 * time.Millisecond} {
			r := newReplica(t, store, l)
			r.addSchedule(t, skewed{steps(time.Second), skew}, "report", work, cronwrap.Retry())
			r.cron.Start()
		}
		time.Sleep(5500 * time.Millisecond)
		l.mustBe(t, start, -2, 1, 2, 3, 4, 5) // -2 had not run
	})
}
