package cronwrap

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"
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

// Without sharing, which copies all entries for each tick, this takes hours.
func TestLatestOfManyTicksIsFast(t *testing.T) {
	t.Parallel()
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	s := schedule{aligned(time.Millisecond), time.UTC}
	const limit = 1_000_000
	ticks := s.latest(now.Add(-time.Hour), now, limit)
	if len(ticks) != limit || !ticks[limit-1].Equal(now) || !ticks[0].Equal(now.Add(-(limit-1)*time.Millisecond)) {
		t.Errorf("%d ticks", len(ticks))
	}
}
