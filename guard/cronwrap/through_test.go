package cronwrap_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestTickOfARunThatEndsWithin250msIsNotSkipped(t *testing.T) {
	for name, opts := range map[string][]cronwrap.JobOption{
		"no catch-up": nil,
		"catch-up":    {cronwrap.CatchUp(cronwrap.All(10), time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				for _, ahead := range []time.Duration{0, 400 * time.Millisecond} {
					r := newReplica(t, store, l)
					r.addSchedule(t, skewed{steps(10 * time.Second), ahead}, "report", sleeping(10*time.Second+100*time.Millisecond), opts...)
					r.cron.Start()
				}
				time.Sleep(45 * time.Second)
				l.mustBe(t, start, 10, 20, 30, 40)
				l.noErrors(t)
			})
		})
	}
}

func TestTickThatComesDueAsCatchingUpEndsIsNotTakenForSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		opt := cronwrap.CatchUp(cronwrap.Once, time.Hour)
		before := newReplica(t, store, l)
		before.add(t, "@every 1h", "report", nil, opt)
		before.cron.Start()
		time.Sleep(time.Hour + time.Minute)
		before.shutdown(t)
		time.Sleep(2*time.Hour - time.Minute - 5*time.Second) // it is 2:59:55
		for range 2 {
			r := newReplica(t, store, l)
			r.add(t, "@every 1h", "report", sleeping(5*time.Second+20*time.Millisecond), opt)
			r.cron.Start()
		}
		time.Sleep(90 * time.Minute)
		l.mustBe(t, start, 3600, 7200, 10800, 14400)
		l.noErrors(t)
	})
}

// movable is a schedule of a clock that is set during a run.
type movable struct {
	cron.Schedule
	ahead *atomic.Int64
}

func (m movable) Next(t time.Time) time.Time {
	ahead := time.Duration(m.ahead.Load())
	return m.Schedule.Next(t.Add(ahead)).Add(-ahead)
}

func (m movable) Tick(at time.Time) time.Time { return at.Add(time.Duration(m.ahead.Load())) }

func TestClockThatJumpsDuringARunUsesUpNoTickToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		opt := cronwrap.CatchUp(cronwrap.Once, time.Hour)
		wrong := movable{steps(10 * time.Second), new(atomic.Int64)}
		r := newReplica(t, store, l)
		r.addSchedule(t, wrong, "report", func(context.Context) error {
			time.Sleep(time.Second)
			wrong.ahead.Store(int64(365 * 24 * time.Hour))
			return nil
		}, opt)
		r.cron.Start()
		time.Sleep(15 * time.Second)
		r.shutdown(t)
		right := newReplica(t, store, l)
		right.add(t, "@every 10s", "report", nil, opt)
		right.cron.Start()
		time.Sleep(30 * time.Second)
		l.mustBe(t, start, 10, 20, 30, 40)
	})
}
