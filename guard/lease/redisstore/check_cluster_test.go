package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// A master that is silent takes no time from the others, and makes none of them look
// broken.
func TestCheckFindsASilentMasterWithinItsContext(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, fit...)
	client := cluster.Client(t, func(o *redis.ClusterOptions) { o.ReadTimeout = time.Second }) // the layout may be asked of it first
	must(t, client.Ping(t.Context()).Err())
	silent := cluster.Nodes()[0]
	silent.Pause()
	defer silent.Resume()
	start := time.Now()
	found, err := redisstore.Check(within(t, 8*time.Second), client)
	if took := time.Since(start); took > 10*time.Second || err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v after %v", err, took)
	}
	unreachable := 0
	for _, f := range found {
		switch {
		case f.Name == "unreachable":
			unreachable++
			if !strings.HasPrefix(f.Why, silent.Addr()+" ") {
				t.Errorf("%+v", f)
			}
		case f.Severity == redisstore.Broken && f.Name != "cluster": // its neighbours may see it as failed
			t.Errorf("%+v", f)
		}
	}
	if unreachable != 1 {
		t.Errorf("%+v", found)
	}
}

func TestCheckOfASilentServerReturnsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	whole := cluster.Client(t)
	must(t, whole.Ping(t.Context()).Err())
	for _, node := range cluster.Nodes() {
		node.Pause()
		t.Cleanup(node.Resume)
	}
	start := time.Now()
	_, err := redisstore.Check(within(t, time.Second), whole)
	if took := time.Since(start); took > 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a Cluster: %v after %v", err, took)
	}
	server := redistest.Start(t)
	for name, client := range map[string]*redis.Client{"defaults": server.Client(t), "no timeouts": server.Client(t, func(o *redis.Options) { o.ReadTimeout = -1 })} {
		must(t, client.Ping(t.Context()).Err())
		server.Pause()
		start := time.Now()
		_, err := redisstore.Check(within(t, time.Second), client)
		if took := time.Since(start); took > 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v after %v", name, err, took)
		}
		server.Resume()
	}
}

func TestCheckFindsAMoveThatWasLeftHalfDone(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, fit...)
	client := cluster.Client(t)
	const key = "guard:k"
	from, to := cluster.Master(t, key), other(t, cluster, key)
	others := []string{"replicas risk", "replicas risk", "replicas risk"}
	cluster.Migrate(t, key, to)
	found := check(t, client)
	wantFindings(t, found, append([]string{"cluster risk"}, others...)...)
	said := func(words ...string) {
		t.Helper()
		for _, f := range found {
			for _, word := range words {
				if f.Name == "cluster" && !strings.Contains(f.Why, word) {
					t.Errorf("%q is missing: %s", word, f.Why)
				}
			}
		}
	}
	slot := cluster.Slot(t, key)
	said(fmt.Sprintf("slot %d from %s to %s", slot, from.Addr(), to.Addr()), "goes on or was left")
	must(t, to.Client(t).Do(t.Context(), "cluster", "setslot", slot, "stable").Err())
	found = check(t, client)
	wantFindings(t, found, append([]string{"cluster broken"}, others...)...)
	said("does not take it", to.Addr())
	must(t, from.Client(t).Do(t.Context(), "cluster", "setslot", slot, "stable").Err())
	wantFindings(t, check(t, client), others...)

	// One that ends meanwhile is none.
	move := cluster.Migrate(t, key, to)
	done := make(chan struct{})
	time.AfterFunc(time.Second, func() { defer close(done); move.Finish(t) })
	found = check(t, client)
	<-done
	wantFindings(t, found, others...)
}
