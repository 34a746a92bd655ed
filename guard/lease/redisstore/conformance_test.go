package redisstore_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/guard/lease/storetest"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestConformanceOnOneNode(t *testing.T) {
	server := redistest.Start(t)
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		f := fixture(t, "guard:", server.Client(t), server.Client(t))
		f.Stall = func(d time.Duration) {
			server.Pause()
			timer := time.AfterFunc(d, server.Resume)
			t.Cleanup(func() {
				if timer.Stop() {
					server.Resume()
				}
			})
		}
		return f
	})
}

func TestConformanceOnACluster(t *testing.T) {
	cluster := redistest.StartCluster(t)
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		f := fixture(t, "guard:", cluster.Client(t), cluster.Client(t))
		f.Flush = func() {
			client := cluster.Client(t)
			if err := client.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
				return node.FlushAll(ctx).Err()
			}); err != nil {
				t.Error(err)
			}
		}
		return f
	})
}

func fixture(t *testing.T, prefix string, a, b redis.UniversalClient) storetest.Fixture {
	check := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	return storetest.Fixture{
		A: redisstore.New(a, redisstore.Prefix(prefix)),
		B: redisstore.New(b, redisstore.Prefix(prefix)),
		Vanish: func(key string) {
			check(a.Del(t.Context(), prefix+key).Err())
		},
		Foreign: func(key, value string, ttl time.Duration) {
			check(a.Set(t.Context(), prefix+key, value, ttl).Err())
		},
		TryForeign: func(key, value string, ttl time.Duration) bool {
			ok, err := a.SetNX(t.Context(), prefix+key, value, ttl).Result()
			check(err)
			return ok
		},
		Kept: func(key string) (kept []string) {
			collect := func(ctx context.Context, node *redis.Client) error {
				names, err := node.Keys(ctx, "*"+key).Result()
				kept = append(kept, names...)
				return err
			}
			switch client := a.(type) {
			case *redis.Client:
				check(collect(t.Context(), client))
			case *redis.ClusterClient:
				for _, node := range nodes(t, client) {
					check(collect(t.Context(), node))
				}
			}
			return kept
		},
		Flush: func() { check(a.FlushAll(t.Context()).Err()) },
	}
}

func nodes(t *testing.T, c *redis.ClusterClient) (all []*redis.Client) {
	var mu sync.Mutex
	if err := c.ForEachMaster(t.Context(), func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, node)
		return nil
	}); err != nil {
		t.Error(err)
	}
	return all
}
