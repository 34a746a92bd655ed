package main

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// newRedis starts a miniredis whose keys age, until the test ends.
func newRedis(t *testing.T) *redis.Client {
	server := miniredis.RunT(t)
	ctx, cancel := context.WithCancel(context.Background())
	var aging sync.WaitGroup
	aging.Go(func() {
		ticks := time.NewTicker(2 * time.Millisecond)
		defer ticks.Stop()
		for last := time.Now(); ; {
			select {
			case <-ctx.Done():
				return
			case now := <-ticks.C:
				server.FastForward(min(now.Sub(last), 4*time.Millisecond))
				last = now
			}
		}
	})
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { cancel(); aging.Wait(); _ = client.Close() })
	return client
}

// A run that is cut off blocks the next one for its TTL, which only a clock ends.
func TestKeysOfMiniredisAge(t *testing.T) {
	client := newRedis(t)
	if err := client.Set(t.Context(), "guard:k", "another program", 2*time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	g, err := guard.New(redisstore.New(client), guard.Wait(0))
	if err != nil {
		t.Fatal(err)
	}
	do := func(g *guard.Guard) error { return g.Do(t.Context(), "k", func(context.Context) error { return nil }) }
	if err := do(g); !errors.Is(err, guard.ErrBusy) {
		t.Errorf("Do() = %v, want ErrBusy", err)
	}
	if err := do(g.With(guard.Wait(30 * time.Second))); err != nil {
		t.Errorf("after its TTL: %v", err)
	}
}
