package quorum_test

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/guard/lease/storetest"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestConformanceOnThreeServers(t *testing.T) { conformance(t, 3) }

func TestConformanceOnFiveServers(t *testing.T) { conformance(t, 5) }

func conformance(t *testing.T, n int) {
	t.Parallel()
	servers := redistest.StartN(t, n)
	storetest.Run(t, func(t *testing.T) storetest.Fixture { return fixture(t, servers) })
}

// open returns the store of a process of its own over servers.
func open(t testing.TB, servers []*redistest.Server, opts ...redisstore.Option) *quorum.Store {
	t.Helper()
	stores := make([]lease.Store, len(servers))
	for i, server := range servers {
		stores[i] = redisstore.New(server.Client(t), opts...)
	}
	s, err := quorum.New(stores...)
	must(t, err)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fixture(t *testing.T, servers []*redistest.Server) storetest.Fixture {
	clients := make([]*redis.Client, len(servers))
	for i, s := range servers {
		clients[i] = s.Client(t)
	}
	each := func(do func(c *redis.Client) error) {
		for _, c := range clients {
			if err := do(c); err != nil {
				t.Error(err)
			}
		}
	}
	return storetest.Fixture{
		A: open(t, servers), B: open(t, servers),
		NoQueue: true, NoLimit: true, NoGrants: true,
		Short: time.Second,
		Settle: func(key string) {
			holding := func(c *redis.Client) int {
				found, err := redisstore.New(c).Inspect(t.Context(), key)
				must(t, err)
				return found.Holding
			}
			for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
				if n := holding(clients[0]); !slices.ContainsFunc(clients, func(c *redis.Client) bool { return holding(c) != n }) {
					return
				}
			}
			t.Errorf("the servers do not agree on who holds %s", key)
		},
		Vanish: func(key string) { each(func(c *redis.Client) error { return c.Del(t.Context(), "guard:"+key).Err() }) },
		Foreign: func(key, value string, ttl time.Duration) {
			each(func(c *redis.Client) error { return c.Set(t.Context(), "guard:"+key, value, ttl).Err() })
		},
		TryForeign: func(key, value string, ttl time.Duration) bool {
			taken := 0
			each(func(c *redis.Client) error {
				ok, err := c.SetNX(t.Context(), "guard:"+key, value, ttl).Result()
				if ok {
					taken++
				}
				return err
			})
			return taken > len(clients)/2
		},
		Kept: func(key string) (kept []string) {
			each(func(c *redis.Client) error {
				names, err := c.Keys(t.Context(), "*"+key).Result()
				kept = append(kept, names...)
				return err
			})
			return kept
		},
		Flush: func() { each(func(c *redis.Client) error { return c.FlushAll(t.Context()).Err() }) },
		Stall: func(d time.Duration) {
			for _, s := range servers {
				s.Pause()
			}
			resume := func() {
				for _, s := range servers {
					s.Resume()
				}
			}
			timer := time.AfterFunc(d, resume)
			t.Cleanup(func() {
				if timer.Stop() {
					resume()
				}
			})
		},
	}
}
