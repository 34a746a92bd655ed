package cronwrap_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// The goroutine that waits for the store runs longer than the entry exists.
func TestNothingIsBackfilledOnceTheEntryIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, store, l := missing(t, 25)
		store.Fail(errors.New("down"))
		r := newReplica(t, store, l)
		opt := cronwrap.CatchUp(cronwrap.All(10), time.Hour)
		id := r.add(t, "@every 1m", "report", func(context.Context) error { return errJob }, opt)
		r.cron.Start()
		time.Sleep(time.Minute) // 85: 60 is missed
		r.cron.Remove(id)
		store.Fail(nil)
		time.Sleep(10 * time.Minute)
		l.mustBe(t, start)
		before := store.Calls(guardtest.OpLastTick)
		time.Sleep(time.Hour)
		if n := store.Calls(guardtest.OpLastTick) - before; n != 0 {
			t.Errorf("%d calls in an hour", n)
		}
	})
}

func TestJobThatIsAddedAgainMakesUpForWhatWasMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, store, l := missing(t, 25)
		r := newReplica(t, store, l)
		r.cron.Start()
		opt := cronwrap.CatchUp(cronwrap.All(10), time.Hour)
		old := r.add(t, "@every 10s", "report", nil, opt)
		time.Sleep(time.Second)
		l.mustBe(t, start, 10, 20)
		r.cron.Remove(old)
		time.Sleep(20 * time.Second) // 46
		r.add(t, "@every 10s", "report", nil, opt)
		time.Sleep(5 * time.Second)
		l.mustBe(t, start, 10, 20, 30, 40, 50)
		l.noErrors(t)
	})
}

// As with cron, a run that has begun goes on.
func TestTickThatWaitsWhenItsEntryIsRemovedRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		id := r.add(t, "@every 10s", "report", nil, cronwrap.Overlap(cronwrap.Wait))
		store.Hold("report", "rival")
		r.cron.Start()
		time.Sleep(15 * time.Second)
		r.cron.Remove(id)
		store.Expire("report")
		time.Sleep(30 * time.Second)
		l.mustBe(t, start, 10)
		l.noErrors(t)
	})
}
