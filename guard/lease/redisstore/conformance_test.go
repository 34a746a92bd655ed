package redisstore_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/guard/lease/storetest"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestConformanceOnOneNode(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	user := documentedUser(t)
	user.join(t, server.Client(t))
	login := func(o *redis.Options) {
		as(user.name, user.password)(o)
		o.ClientName = "jobguard"
	}
	open := func(t *testing.T) storetest.Fixture {
		f := fixture(t, server.Client(t), server.Client(t, login), server.Client(t, login))
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
	}
	storetest.Run(t, open)
	t.Run("first tries", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Fixture {
			f := open(t)
			redisstore.AlwaysTryFirst(f.A.(*redisstore.Store))
			redisstore.AlwaysTryFirst(f.B.(*redisstore.Store))
			f.Buried = true
			return f
		})
	})
	acked := redisstore.New(server.Client(t, login), redisstore.ReplicaAck(1, 10*time.Millisecond))
	_, err := acked.Acquire(t.Context(), lease.AcquireRequest{Key: "k", Owner: acked.NewOwner(""), TTL: time.Second})
	if err == nil || errors.Is(err, lease.ErrRefused) {
		t.Errorf("Acquire() = %v, want that too few replicas acknowledged it", err)
	}
	user.wasDeniedNothing(t, server.Client(t))
}

func TestConformanceOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	user := documentedUser(t)
	login := func(o *redis.ClusterOptions) {
		o.Username, o.Password, o.ClientName = user.name, user.password, "jobguard"
	}
	masters := nodes(t, cluster.Client(t))
	for _, node := range masters {
		user.join(t, node)
	}
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		f := fixture(t, cluster.Client(t), cluster.Client(t, login), cluster.Client(t, login))
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
	for _, node := range masters {
		user.wasDeniedNothing(t, node)
	}
}

// serverUser is the documented user: the stores of the conformance tests have its
// permissions only.
type serverUser struct {
	rule           []any // the command that creates it
	name, password string
}

func documentedUser(t *testing.T) serverUser {
	doc, err := os.ReadFile("../../../docs/behaviour/redisstore.md")
	must(t, err)
	_, rule, found := strings.Cut(string(doc), "ACL SETUSER ")
	rule, _, ended := strings.Cut(rule, "```")
	words := strings.Fields("ACL SETUSER " + strings.ReplaceAll(rule, "\\\n", ""))
	newer := strings.Contains(string(doc), "\nACL SETUSER "+words[2]+" +client|setinfo\n") // see join
	if !found || !ended || !newer || len(words) < 10 {
		t.Fatal("the documentation names no user")
	}
	u := serverUser{name: words[2], password: strings.TrimPrefix(words[4], ">")}
	for _, word := range words {
		u.rule = append(u.rule, word)
	}
	return u
}

func (u serverUser) join(t *testing.T, node *redis.Client) {
	t.Helper()
	must(t, node.Do(t.Context(), u.rule...).Err())
	// The documentation's second rule is for newer servers: Redis 7.0 does not know the command.
	err := node.Do(t.Context(), "ACL", "SETUSER", u.name, "+client|setinfo").Err()
	if err != nil && !strings.Contains(err.Error(), "Unknown command") {
		t.Fatal(err)
	}
}

func (u serverUser) wasDeniedNothing(t *testing.T, node *redis.Client) {
	t.Helper()
	entries, err := node.ACLLog(t.Context(), 10).Result()
	noError(t, err)
	for _, e := range entries {
		t.Errorf("the documentation does not list %s (%s)", e.Object, e.Reason)
	}
}

func fixture(t *testing.T, admin, a, b redis.UniversalClient) storetest.Fixture {
	check := func(err error) {
		noError(t, err)
	}
	operator := redisstore.New(b)
	return storetest.Fixture{
		Revoke: func(key, reason string) { check(operator.Revoke(t.Context(), key, reason)) },
		A:      redisstore.New(a),
		B:      redisstore.New(b),
		Vanish: func(key string) {
			check(admin.Del(t.Context(), "guard:"+key).Err())
		},
		Foreign: func(key, value string, ttl time.Duration) {
			check(admin.Set(t.Context(), "guard:"+key, value, ttl).Err())
		},
		TryForeign: func(key, value string, ttl time.Duration) bool {
			ok, err := admin.SetNX(t.Context(), "guard:"+key, value, ttl).Result()
			check(err)
			return ok
		},
		Kept: func(key string) (kept []string) {
			collect := func(ctx context.Context, node *redis.Client) error {
				names, err := node.Keys(ctx, "*"+key).Result()
				kept = append(kept, names...)
				return err
			}
			switch client := admin.(type) {
			case *redis.Client:
				check(collect(t.Context(), client))
			case *redis.ClusterClient:
				for _, node := range nodes(t, client) {
					check(collect(t.Context(), node))
				}
			}
			return kept
		},
		Flush: func() { check(admin.FlushAll(t.Context()).Err()) },
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
