package redislog_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/redislog"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// The outcome travels beside the release.
func TestDoTakesOneRoundTripMoreThanWithoutAJournal(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client := server.Client(t, func(o *redis.Options) { o.Addr = proxy.Addr() })
	g, err := guard.New(redisstore.New(client))
	must(t, err)
	j, err := journal.New(g, redislog.New(client))
	must(t, err)
	fn := func(context.Context) error { return nil }
	plain := func(key string) { must(t, g.Do(t.Context(), key, fn)) }
	recorded := func(key string) { must(t, j.Do(t.Context(), key, journal.Op{Kind: "charge"}, fn)) }
	for range 3 { // connections and scripts
		plain("a")
		recorded("b")
	}
	const trip = 300 * time.Millisecond
	proxy.Delay(trip / 2)
	best := func(do func(string), key string) time.Duration { // what a busy machine adds is no round trip
		var took []time.Duration
		for range 3 {
			start := time.Now()
			do(key)
			took = append(took, time.Since(start))
		}
		return slices.Min(took)
	}
	without, with := best(plain, "a"), best(recorded, "b")
	t.Logf("%v without, %v with a journal; a round trip is %v", without, with, trip)
	if without < trip {
		t.Errorf("%v without a journal: the delay has no effect", without)
	}
	if more := with - without; more > trip+trip/2 {
		t.Errorf("%v more with a journal, want a round trip of %v", more, trip)
	}
}
