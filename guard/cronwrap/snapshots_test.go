package cronwrap

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestManyThatAskForTheirEntriesShareTwoAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := 0
		s := newSnapshots(func() []cron.Entry {
			taken++
			began := time.Now()
			time.Sleep(time.Second)
			return []cron.Entry{{ID: 1, Prev: began}}
		})
		var all sync.WaitGroup
		ask := func() {
			all.Go(func() {
				asked := time.Now()
				if e := s.of(1); e.Prev.Before(asked) {
					t.Errorf("asked at %v, the answer is of %v", asked, e.Prev)
				}
			})
		}
		ask()
		time.Sleep(time.Millisecond) // the request is under way: too late to share it
		for range 1000 {
			ask()
		}
		all.Wait()
		if taken != 2 {
			t.Errorf("cron was asked %d times, want 2", taken)
		}
		if e := s.of(2); e.Valid() {
			t.Errorf("of an id that is not there: %v", e)
		}
	})
}

func TestJobsWhoseEntriesWereRemovedAreForgotten(t *testing.T) {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	c := cron.New()
	r, err := New(c, g)
	if err != nil {
		t.Fatal(err)
	}
	add := func(name string) cron.EntryID {
		id, err := r.Add("@daily", name, func(context.Context) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	add("stays")
	for i := range 1000 {
		c.Remove(add(fmt.Sprint("tenant-", i)))
	}
	if n := len(r.jobs); n > 100 || r.jobs["stays"] == nil {
		t.Errorf("%d jobs are remembered, of 1 that there is: %v", n, r.jobs["stays"] != nil)
	}
}

// Without sharing, which copies all entries for each tick, this takes hours.
func TestLatestOfManyTicksIsFast(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	s := schedule{aligned(time.Millisecond), time.UTC}
	const limit = 1_000_000
	ticks := s.latest(now.Add(-time.Hour), now, limit)
	if len(ticks) != limit || !ticks[limit-1].Equal(now) || !ticks[0].Equal(now.Add(-(limit-1)*time.Millisecond)) {
		t.Errorf("%d ticks", len(ticks))
	}
}
