package cronwrap_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// What CatchUp backfills is what lies behind the last tick that the store remembers.
func TestNothingIsBackfilledFromBeforeTheStoreForgot(t *testing.T) {
	for name, forgets := range map[string]bool{"remembers": false, "forgot": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := redis.NewClient(&redis.Options{Addr: redistest.Start(t).Addr()})
			t.Cleanup(func() { _ = client.Close() })
			firstTick := func() time.Time {
				c := cron.New(cron.WithLocation(time.UTC))
				r := newRunner(t, redisstore.New(client), c, nil, nil)
				ticks := make(chan time.Time, 100)
				_, err := r.AddSchedule(steps(s), "report", func(ctx context.Context) error {
					ticks <- cronwrap.Tick(ctx)
					return nil
				}, cronwrap.CatchUp(50, time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				c.Start()
				defer r.shutdown(t)
				return <-ticks
			}
			firstTick()
			if forgets {
				if err := client.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(3 * s)
			began := time.Now()
			if first := firstTick(); first.Before(began.Add(-s)) != !forgets {
				t.Errorf("the first tick after the start at %v is %v", began, first)
			}
		})
	}
}
