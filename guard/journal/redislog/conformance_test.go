package redislog_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/journal/logtest"
	"github.com/jobguard/jobguard/guard/journal/redislog"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestConformanceOnOneNode(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	join(t, admin)
	a, b := server.Client(t, login), server.Client(t, login)
	n := 0
	logtest.Run(t, func(*testing.T) logtest.Fixture {
		n++
		prefix := redislog.Prefix(fmt.Sprintf("journal:%d:", n))
		return logtest.Fixture{A: redislog.New(a, prefix), B: redislog.New(b, prefix)}
	})
	deniedNothing(t, admin)
}

func TestConformanceOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	as := func(o *redis.ClusterOptions) { o.Username, o.Password = user, password }
	var mu sync.Mutex
	var nodes []*redis.Client
	must(t, cluster.Client(t).ForEachMaster(t.Context(), func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, node)
		return nil
	}))
	for _, node := range nodes {
		join(t, node)
	}
	a, b := cluster.Client(t, as), cluster.Client(t, as)
	n := 0
	logtest.Run(t, func(*testing.T) logtest.Fixture {
		n++
		prefix := redislog.Prefix(fmt.Sprintf("journal:%d:", n))
		return logtest.Fixture{A: redislog.New(a, prefix), B: redislog.New(b, prefix)}
	})
	for _, node := range nodes {
		deniedNothing(t, node)
	}
}

const user, password = "journal", "secret"

func login(o *redis.Options) { o.Username, o.Password = user, password }

// join makes the user that the package's doc describes.
func join(t *testing.T, node *redis.Client) {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	must(t, err)
	_, rule, found := strings.Cut(string(doc), "ACL SETUSER "+user)
	rule, _, ended := strings.Cut(rule, "\npackage")
	if !found || !ended {
		t.Fatal("the doc names no user")
	}
	args := []any{"ACL", "SETUSER", user}
	for _, word := range strings.Fields(strings.NewReplacer("//", " ", "\\", " ").Replace(rule)) {
		if word == "+client|setinfo" { // Redis 7.0 does not know it
			continue
		}
		args = append(args, word)
	}
	must(t, node.Do(t.Context(), args...).Err())
}

func deniedNothing(t *testing.T, node *redis.Client) {
	t.Helper()
	entries, err := node.ACLLog(t.Context(), 20).Result()
	must(t, err)
	for _, e := range entries {
		if e.Object != "client|setinfo" {
			t.Errorf("the doc does not list %s (%s)", e.Object, e.Reason)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
