package redisstore_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// mark is the set of those that were asked and have not answered.
func (p *process) mark(key string) string {
	return "guard:stop:{" + redisstore.TagOf("guard:"+key) + "}:" + key
}

// A failover may lose who was asked: that is no answer of theirs.
func TestRevokeAsksAgainAfterTheServerForgotThatItDid(t *testing.T) {
	for name, next := range map[string]bool{"held on": false, "passed on": true} {
		t.Run(name, func(t *testing.T) {
			p := newProcess(t, redistest.Start(t).Client(t))
			p.granted("k", p.NewOwner(""))
			result := make(chan error, 1)
			go func() { result <- p.Revoke(within(t, 2*time.Second), "k", "") }()
			eventually(t, "the question", func() bool { return p.client.ZCard(t.Context(), p.mark("k")).Val() == 2 })
			other := p.NewOwner("")
			_, err := p.client.TxPipelined(t.Context(), func(tx redis.Pipeliner) error {
				tx.Del(t.Context(), p.mark("k"))
				if next {
					tx.Set(t.Context(), "guard:k", other, time.Minute)
				}
				return nil
			})
			must(t, err)
			switch err := <-result; {
			case next && err != nil:
				t.Errorf("Revoke() = %v: the holder has the key no more", err)
			case !next && !errors.Is(err, redisstore.ErrNoAnswer):
				t.Errorf("Revoke() = %v, and nobody was told", err)
			}
			if slices.Contains(p.client.ZRange(t.Context(), p.mark("k"), 0, -1).Val(), other) {
				t.Error("the next holder was asked too")
			}
		})
	}
}

func TestRevokeReachesHoldersWhileMemoryIsFull(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	owner := p.NewOwner("")
	p.granted("k", owner)
	heard := make(chan lease.Stop, 100)
	end := p.Listen(func(s lease.Stop) bool { heard <- s; return true })
	defer end()
	must(t, p.client.ConfigSet(t.Context(), "maxmemory", "1").Err())
	must(t, p.Revoke(within(t, 5*time.Second), "k", "out of\nmemory"))
	if s := <-heard; s.Owner != owner || s.Kind != lease.Revoked || s.Text != "out of memory" {
		t.Errorf("%+v", s)
	}
}

// A second Break would end the lease of the one that the first let in.
func TestBreakIsSentOnce(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := newProcess(t, server.Client(t))
	p.granted("k", p.NewOwner(""))
	next, after := p.NewOwner(""), p.NewOwner("")
	p.refused("k", next, 0)
	p.refused("k", after, 0)
	op := redisstore.New(dial(t, proxy))
	must(t, op.Break(t.Context(), "other")) // makes a connection, and loads the script
	trap := proxy.HoldNextReply("guard:k")
	result := make(chan error, 1)
	go func() { result <- op.Break(within(t, 30*time.Second), "k") }()
	eventually(t, "the next holder", func() bool { return p.value("guard:k") == next })
	time.Sleep(time.Second) // ten times what makes others send again
	trap.Release()
	must(t, <-result)
	if got := p.value("guard:k"); got != next {
		t.Errorf("%q holds the key, want the first in line, %q", got, next)
	}
}

// crowd puts n waiters, and n readers that hold the key, on the server.
func crowd(t *testing.T, client *redis.Client, key string, n int) {
	t.Helper()
	ctx := t.Context()
	tag := redisstore.TagOf("guard:" + key)
	now := time.Now()
	for from := 0; from < n; from += 10_000 {
		var queue, holders []redis.Z
		for i := from; i < min(n, from+10_000); i++ {
			owner := lease.OwnerID("7b1c9c1e-8f5e-4c70-a35b-4e5d5d6f2f01", uint64(i), fmt.Sprint("web-", i), "") //nolint:gosec // not negative
			queue = append(queue, redis.Z{Score: float64(2 * (now.Add(-time.Hour).UnixMicro() + int64(i))), Member: "1000,0,0;" + owner})
			holders = append(holders, redis.Z{Score: float64(now.Add(time.Hour).UnixMicro() + int64(i)), Member: "-1;" + owner})
		}
		must(t, client.ZAdd(ctx, "guard:w:{"+tag+"}:"+key, queue...).Err())
		must(t, client.ZAdd(ctx, "guard:h:{"+tag+"}:"+key, holders...).Err())
	}
	must(t, client.Set(ctx, "guard:"+key, "shared|web-0|", time.Hour).Err())
}

// However many wait and hold, Inspect names all, List the first and how many there are, and
// no command keeps the server for long.
func TestCrowdsAreReadInPages(t *testing.T) {
	const n = 50_000
	server := redistest.Start(t)
	client := server.Client(t)
	crowd(t, client, "k", n)
	op := redisstore.New(client)
	allQuick(t, client, func() {
		i, err := op.Inspect(t.Context(), "k")
		must(t, err)
		if i.Mode != redisstore.ModeShared || i.Waiting != n || i.Holding != n || len(i.Queue) != n || len(i.Holders) != n {
			t.Fatalf("%s, %d of %d wait, %d of %d hold", i.Mode, len(i.Queue), i.Waiting, len(i.Holders), i.Holding)
		}
		for at, w := range i.Queue {
			if w.Owner != fmt.Sprint("web-", at) || w.Waited < time.Hour || w.Waited > 2*time.Hour {
				t.Fatalf("place %d is %+v", at, w)
			}
		}
		for i, err := range op.List(t.Context(), "") {
			if must(t, err); len(i.Queue) != 100 || len(i.Holders) != 100 || i.Waiting != n || i.Holding != n {
				t.Fatalf("listed %d of %d waiters, %d of %d holders", len(i.Queue), i.Waiting, len(i.Holders), i.Holding)
			}
		}
	})
}

// allQuick wants that no command of do takes more than 5 ms, by the server's slow log. A
// busy machine stops the server in the midst of a command, so do is tried some times, and in the
// best try one command in three of a kind may take longer: of pages that are too large, all do.
func allQuick(t *testing.T, client *redis.Client, do func()) {
	t.Helper()
	ctx := t.Context()
	must(t, client.ConfigSet(ctx, "slowlog-log-slower-than", "5000").Err())
	must(t, client.ConfigSet(ctx, "slowlog-max-len", "1000000").Err())
	var slow, worst string
	for range 5 {
		must(t, client.ConfigResetStat(ctx).Err())
		must(t, client.SlowLogReset(ctx).Err())
		do()
		stats := client.Info(ctx, "commandstats").Val()
		logged, err := client.SlowLogGet(ctx, -1).Result()
		must(t, err)
		times := make(map[string]int)
		for _, entry := range logged {
			times[strings.ToLower(entry.Args[0])]++
		}
		slow, worst = "", ""
		for command, n := range times {
			calls := callsOf(stats, command)
			slow += fmt.Sprintf(" %d of %d %s", n, calls, command)
			if n*3 > calls {
				worst = slow
			}
		}
		if worst == "" {
			t.Logf("more than 5 ms took: %s", cmp.Or(slow, "none"))
			return
		}
	}
	t.Errorf("more than 5 ms took%s", worst)
}

func callsOf(stats, command string) (n int) {
	_, line, _ := strings.Cut(stats, "cmdstat_"+command+":calls=")
	_, _ = fmt.Sscan(line[:strings.IndexByte(line+",", ',')], &n)
	return n
}

// What another program keeps under the key is not read whole.
func TestInspectReadsTheBeginningOfAForeignValue(t *testing.T) {
	client := redistest.Start(t).Client(t)
	must(t, client.Set(t.Context(), "guard:blob", strings.Repeat("x", 20<<20), 0).Err())
	must(t, client.Set(t.Context(), "guard:empty", "", 0).Err())
	op := redisstore.New(client)
	i, err := op.Inspect(t.Context(), "blob")
	if must(t, err); i.Mode != redisstore.ModeForeign || len(i.Holders) != 1 || len(i.Holders[0].ID) > 4096 || i.Holders[0].Remaining >= 0 {
		t.Errorf("%s, %d holders", i.Mode, len(i.Holders))
	}
	if i, err = op.Inspect(t.Context(), "empty"); err != nil || i.Mode != redisstore.ModeForeign || i.Holding != 1 {
		t.Errorf("%+v, %v", i, err)
	}
}

// Keys of any bytes, and keys that look like a companion of another.
func TestPatternsFindKeysOfAllNames(t *testing.T) {
	client := redistest.Start(t).Client(t)
	op := redisstore.New(client)
	p := newProcess(t, client)
	keys := []string{"w:{1}:odd", "latest:{repo}", "a*b", "a[b", `a\b`, "\xff\x00\n", "order:{7}", " x "}
	for _, key := range keys {
		p.granted(key, p.NewOwner(""))
		_, err := op.ClaimTick(within(t, 5*time.Second), lease.TickRequest{Key: key, Owner: op.NewOwner(""), At: time.Now(), MaxAhead: -1})
		must(t, err)
	}
	list := func(pattern string) (found, ticks []string) {
		for i, err := range op.List(t.Context(), pattern) {
			must(t, err)
			found = append(found, i.Key)
		}
		for tick, err := range op.Ticks(t.Context(), pattern) {
			must(t, err)
			ticks = append(ticks, tick.Key)
		}
		slices.Sort(found)
		slices.Sort(ticks)
		return found, ticks
	}
	for pattern, want := range map[string][]string{
		"": keys, "*": keys, "w:*": {"w:{1}:odd"}, "latest:{repo}": {"latest:{repo}"}, "l?test*": {"latest:{repo}"},
		`a\*b`: {"a*b"}, `a\[b`: {"a[b"}, `a\\b`: {`a\b`}, "\xff*": {"\xff\x00\n"}, "[ow]*{*": {"order:{7}", "w:{1}:odd"}, "?x?": {" x "}, "nothing*": nil,
	} {
		want = slices.Sorted(slices.Values(want))
		if found, ticks := list(pattern); !slices.Equal(found, want) || !slices.Equal(ticks, want) {
			t.Errorf("%q finds %q and ticks of %q, want %q", pattern, found, ticks, want)
		}
	}
	for _, key := range keys {
		must(t, op.Break(t.Context(), key))
		if i, err := op.Inspect(t.Context(), key); err != nil || i.Mode != redisstore.ModeFree {
			t.Errorf("%q is %+v, %v", key, i, err)
		}
	}
}

// While a slot moves a script with several keys is refused; one such key must not end List.
func TestKeysAreSeenWhileTheirSlotMoves(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	p := newProcess(t, cluster.Client(t), redisstore.Owner("worker"))
	op := redisstore.New(cluster.Client(t))
	ctx := t.Context()
	p.lasting(lease.AcquireRequest{Key: "exclusive", Owner: p.NewOwner("trace")})
	p.refused("exclusive", p.NewOwner(""), 0) // the queue is kept for a minute
	for range 2 {
		p.lasting(lease.AcquireRequest{Key: "limit", Owner: p.NewOwner(""), Limit: 3})
	}
	must(t, p.client.HSet(ctx, "guard:hash", "a", "b").Err())
	want := make(map[string]redisstore.Inspection)
	for _, key := range []string{"exclusive", "limit", "hash", "free"} {
		i, err := op.Inspect(ctx, key)
		must(t, err)
		want[key] = i
	}
	for key, before := range want {
		tag := redisstore.TagOf("guard:" + key)
		for _, moved := range []string{"", "guard:" + key, "guard:w:{" + tag + "}:" + key, "guard:h:{" + tag + "}:" + key} {
			move := cluster.Migrate(t, "guard:"+key, other(t, cluster, "guard:"+key))
			if moved != "" && p.client.Exists(ctx, moved).Val() == 1 {
				move.MoveKeys(t, moved)
			}
			now, err := op.Inspect(ctx, key)
			if err != nil || sameButForTimes(now) != sameButForTimes(before) {
				t.Errorf("%s, with %q moved: %v\n%s, want\n%s", key, moved, err, sameButForTimes(now), sameButForTimes(before))
			}
			listed := 0
			for i, err := range op.List(ctx, "") {
				if must(t, err); sameButForTimes(i) != sameButForTimes(want[i.Key]) {
					t.Errorf("listed %s, want\n%s", sameButForTimes(i), sameButForTimes(want[i.Key]))
				}
				listed++
			}
			if listed != 3 {
				t.Errorf("%s, with %q moved: %d were listed", key, moved, listed)
			}
			move.Finish(t)
		}
	}
}

func sameButForTimes(i redisstore.Inspection) string {
	i.Holders, i.Queue = slices.Clone(i.Holders), slices.Clone(i.Queue)
	for n := range i.Holders {
		i.Holders[n].Remaining = min(i.Holders[n].Remaining, 0)
	}
	for n := range i.Queue {
		i.Queue[n].Waited = 0
	}
	return fmt.Sprintf("%+v", i)
}

// A ClusterClient with ReadOnly asks replicas, and so do Sentinels' clients with ReplicaOnly.
func TestInspectAsksReplicasOfAClusterAndBehindSentinels(t *testing.T) {
	group := redistest.StartSentinel(t, 1)
	p := newProcess(t, group.Client(t))
	p.lasting(lease.AcquireRequest{Key: "k", Owner: p.NewOwner("")})
	// A client may have learned the layout before the replica was in it: another one asks then.
	seen := func(dial func() redis.UniversalClient, of *redistest.Server) {
		t.Helper()
		admin := of.Client(t)
		must(t, admin.ConfigResetStat(t.Context()).Err())
		for range 40 {
			client := dial()
			i, err := redisstore.New(client).Inspect(t.Context(), "k") // a replica that has just joined may not answer yet
			must(t, client.Close())
			if err == nil && i.Mode == redisstore.ModeExclusive && strings.Contains(admin.Info(t.Context(), "commandstats").Val(), "cmdstat_evalsha_ro:") {
				return
			}
			time.Sleep(250 * time.Millisecond)
		}
		t.Error("the replica was not asked, or does not have the lease")
	}
	seen(func() redis.UniversalClient {
		return redis.NewFailoverClient(&redis.FailoverOptions{MasterName: group.MasterName, SentinelAddrs: group.SentinelAddrs(), ReplicaOnly: true})
	}, group.Replicas[0])

	cluster := redistest.StartCluster(t)
	q := newProcess(t, cluster.Client(t))
	owner := q.NewOwner("")
	q.lasting(lease.AcquireRequest{Key: "k", Owner: owner})
	master := cluster.Master(t, "guard:k")
	must(t, master.Client(t).ConfigSet(t.Context(), "repl-diskless-sync-delay", "0").Err())
	follower := redistest.Start(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "1000")
	client := follower.Client(t)
	must(t, client.ClusterMeet(t.Context(), "127.0.0.1", fmt.Sprint(master.Port())).Err())
	id := master.Client(t).Do(t.Context(), "cluster", "myid").Val()
	eventually(t, "the replica", func() bool { return client.ClusterReplicate(t.Context(), fmt.Sprint(id)).Err() == nil })
	first := cluster.Nodes()[0].Client(t)
	eventually(t, "the layout", func() bool {
		q.renewAll([]string{"k"}, []string{owner}, time.Hour) // a replica is announced when it has received something
		shards, err := first.ClusterShards(t.Context()).Result()
		return err == nil && slices.ContainsFunc(shards, func(s redis.ClusterShard) bool { return len(s.Nodes) == 2 && len(s.Slots) > 0 })
	})
	seen(func() redis.UniversalClient {
		o := cluster.Client(t).Options()
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: o.Addrs, ReadOnly: true})
	}, follower)
}
