package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/guard/lease/storetest"
)

// The embedded Redis runs our scripts as a real one does.
func TestEmbeddedRedisConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		e, err := startEmbedded()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.close)
		store := func() (*redisstore.Store, *redis.Client) {
			client := redis.NewClient(redisOptions(e.addr()))
			t.Cleanup(func() { _ = client.Close() }) // nothing is left to be sent
			return redisstore.New(client), client
		}
		check := func(err error) {
			if err != nil {
				t.Error(err)
			}
		}
		a, client := store()
		b, _ := store()
		return storetest.Fixture{
			A: a, B: b,
			Vanish: func(key string) { check(client.Del(t.Context(), "guard:"+key).Err()) },
			Foreign: func(key, value string, ttl time.Duration) {
				check(client.Set(t.Context(), "guard:"+key, value, ttl).Err())
			},
			Flush: func() { check(client.FlushAll(t.Context()).Err()) },
		}
	})
}

// However long this process is kept from running, a key that was just set must
// not lose more than a step of its life.
func TestKeysNeverAgeFasterThanTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quit := make(chan struct{})
		began := time.Now()
		var aged time.Duration
		done := make(chan struct{})
		go func() {
			defer close(done)
			age(func(d time.Duration) {
				aged += d
				if d > maxStep {
					t.Errorf("a step of %v", d)
				}
				if passed := time.Since(began); aged > passed {
					t.Errorf("aged %v in %v", aged, passed)
				}
				if aged > 500*time.Millisecond && aged < 510*time.Millisecond {
					time.Sleep(3 * time.Second) // held up
				}
			}, quit)
		}()
		time.Sleep(20 * time.Second)
		close(quit)
		<-done
		if aged < 4*time.Second {
			t.Errorf("aged %v in 20 s, of which few were lost", aged)
		}
	})
}
