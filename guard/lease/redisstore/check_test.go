package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// fit are the settings of a server about which Check finds nothing.
var fit = []string{"--appendonly", "yes", "--appendfsync", "always"}

func startFit(t *testing.T, args ...string) *redistest.Server {
	return redistest.Start(t, slices.Concat(fit, args)...)
}

// check judges round trips for a TTL of an hour if opts say nothing else: a busy machine is
// slow to answer.
func check(t *testing.T, client redis.UniversalClient, opts ...redisstore.CheckOption) []redisstore.Finding {
	t.Helper()
	opts = slices.Concat([]redisstore.CheckOption{redisstore.ForTTL(time.Hour)}, opts)
	findings, err := redisstore.Check(t.Context(), client, opts...)
	noError(t, err)
	for _, f := range findings {
		if f.Name == "" || f.Why == "" || f.Fix == "" {
			t.Errorf("%+v lacks something", f)
		}
	}
	return findings
}

// wantFindings compares names and severities: "timeout risk".
func wantFindings(t *testing.T, got []redisstore.Finding, want ...string) {
	t.Helper()
	if names := namesOf(got); !slices.Equal(names, slices.Sorted(slices.Values(want))) {
		t.Errorf("found %q, want %q:\n%+v", names, want, got)
	}
}

func namesOf(findings []redisstore.Finding) (names []string) {
	for _, f := range findings {
		names = append(names, f.Name+" "+f.Severity)
	}
	slices.Sort(names)
	return names
}

// wantJudged is wantFindings of checks for leases of ttl. The machine may be too busy for
// some of them: one that finds what is wanted is enough.
func wantJudged(t *testing.T, client redis.UniversalClient, ttl time.Duration, want ...string) {
	t.Helper()
	var found []redisstore.Finding
	for range 5 {
		if found = check(t, client, redisstore.ForTTL(ttl)); slices.Equal(namesOf(found), want) {
			return
		}
	}
	wantFindings(t, found, want...)
}

func TestCheckFindsNothingOnAFitServer(t *testing.T) {
	wantJudged(t, startFit(t).Client(t), 10*time.Second)
}

func TestCheckFindsTheFaultsOfAServer(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{name: "evicts", args: []string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, want: []string{"maxmemory-policy broken"}},
		{name: "would evict", args: []string{"--maxmemory-policy", "volatile-ttl"}, want: []string{"maxmemory-policy risk"}},
		{name: "no persistence", args: []string{"--appendonly", "no"}, want: []string{"persistence risk"}},
		{name: "snapshots", args: []string{"--appendonly", "no", "--save", "3600 1"}, want: []string{"persistence risk"}},
		{name: "everysec", args: []string{"--appendfsync", "everysec"}, want: []string{"persistence risk"}},
		{name: "no fsync", args: []string{"--appendfsync", "no"}, want: []string{"persistence risk"}},
		{name: "timeout", args: []string{"--timeout", "60"}, want: []string{"timeout risk"}},
		{name: "pubsub buffer", args: []string{"--client-output-buffer-limit", "pubsub 1kb 0 0"}, want: []string{"pubsub-buffer risk"}},
		{name: "min replicas", args: []string{"--min-replicas-to-write", "1"}, want: []string{"min-replicas-to-write broken"}},
		{name: "renamed command", args: []string{"--rename-command", "ZPOPMIN", ""}, want: []string{"commands broken"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFindings(t, check(t, startFit(t, c.args...).Client(t)), c.want...)
		})
	}
}

func TestCheckAcceptsATimeoutThatTheClientIsBelow(t *testing.T) {
	server := startFit(t, "--timeout", "60")
	wantFindings(t, check(t, server.Client(t, func(o *redis.Options) { o.ConnMaxIdleTime = 30 * time.Second })))
}

func TestCheckFindsEvictions(t *testing.T) {
	client := startFit(t, "--maxmemory-policy", "allkeys-lru").Client(t)
	for i := range 100 {
		must(t, client.Set(t.Context(), strconv.Itoa(i), strings.Repeat("x", 10_000), 0).Err())
	}
	used := regexp.MustCompile(`used_memory:(\d+)`).FindStringSubmatch(client.Info(t.Context(), "memory").Val())
	bytes, err := strconv.Atoi(used[1])
	must(t, err)
	must(t, client.ConfigSet(t.Context(), "maxmemory", strconv.Itoa(bytes-300_000)).Err())
	must(t, client.Set(t.Context(), "evictor", "x", 0).Err())
	must(t, client.ConfigSet(t.Context(), "maxmemory", "0").Err())
	wantFindings(t, check(t, client), "maxmemory-policy risk", "evictions broken")
	must(t, client.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
	wantFindings(t, check(t, client), "evictions risk")
}

func TestCheckFindsADiskThatCannotBeWritten(t *testing.T) {
	client := redistest.Start(t, "--save", "3600 1").Client(t)
	must(t, os.RemoveAll(client.ConfigGet(t.Context(), "dir").Val()["dir"]))
	_ = client.Do(t.Context(), "save").Err() // it fails
	must(t, client.Do(t.Context(), "bgsave").Err())
	eventually(t, "the fault", func() bool { return strings.Contains(client.Info(t.Context()).Val(), "rdb_last_bgsave_status:err") })
	wantFindings(t, check(t, client), "persistence risk", "disk broken")
}

func TestCheckUnderTheDocumentedUserFindsItsOwnWantOfRightsOnly(t *testing.T) {
	server := startFit(t)
	user := documentedUser(t)
	user.join(t, server.Client(t))
	client := server.Client(t, as(user.name, user.password))
	found := check(t, client)
	wantFindings(t, found, "unchecked unknown")
	for _, right := range []string{"+info", "+config|get", "+acl|whoami"} {
		if !strings.Contains(found[0].Fix, right) {
			t.Errorf("the fix %q does not name %s", found[0].Fix, right)
		}
	}
	// The rights that it names suffice.
	must(t, server.Client(t).Do(t.Context(), "acl", "setuser", user.name, "+info", "+config|get", "+acl|whoami", "+acl|dryrun").Err())
	wantFindings(t, check(t, client))
}

func TestCheckFindsEachRightThatAStoreNeeds(t *testing.T) {
	server := startFit(t)
	admin := server.Client(t)
	user := documentedUser(t)
	user.join(t, admin)
	client := server.Client(t, as(user.name, user.password))
	tried := 0
	for _, rule := range user.rule[2:] {
		word, _ := strings.CutPrefix(rule.(string), "+")
		if word == rule || strings.HasPrefix(word, "@") || slices.Contains([]string{"wait", "cluster|slots", "asking", "command", "client|setname"}, word) {
			continue
		}
		tried++
		must(t, admin.Do(t.Context(), "acl", "setuser", user.name, "-"+word).Err())
		found := check(t, client)
		must(t, admin.Do(t.Context(), "acl", "setuser", user.name, "+"+word).Err())
		named := slices.ContainsFunc(found, func(f redisstore.Finding) bool {
			return f.Name == "rights" && strings.Contains(f.Why, word) && strings.Contains(f.Fix, "+"+word)
		})
		if !named {
			t.Errorf("without %s: %+v", word, found)
		}
	}
	if tried < 25 {
		t.Errorf("tried %d rights only", tried)
	}
}

func TestCheckFindsWhatDryRunDenies(t *testing.T) {
	server := startFit(t)
	admin := server.Client(t)
	admin.ACLSetUser(t.Context(), "limited", "on", ">pw", "+@all", "~guard:*", "&other:*")
	found := check(t, server.Client(t, as("limited", "pw")))
	wantFindings(t, found, "rights risk")
	admin.ACLSetUser(t.Context(), "limited", "resetkeys", "&*", "~other:*")
	wantFindings(t, check(t, server.Client(t, as("limited", "pw"))), "rights broken")
	wantFindings(t, check(t, server.Client(t, as("limited", "pw")), redisstore.Prefix("other:")))
}

func TestCheckMeasuresRoundTripsAgainstTheTTL(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewProxy(t, startFit(t).Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	wantJudged(t, client, 10*time.Second)
	proxy.Delay(50 * time.Millisecond)
	wantJudged(t, client, 2*time.Second, "round-trip risk")
	wantJudged(t, client, 200*time.Millisecond, "round-trip broken")
}

func TestCheckForgivesOneStallOfAHundredRoundTrips(t *testing.T) {
	server := startFit(t)
	for _, c := range []struct {
		stalls []int32
		want   []string
	}{
		{[]int32{50}, nil},
		{[]int32{50, 60}, []string{"round-trip risk"}},
	} {
		var asked atomic.Int32
		client := server.Client(t, func(o *redis.Options) {
			o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
				var d net.Dialer
				conn, err := d.DialContext(ctx, network, addr)
				return &stalling{Conn: conn, asked: &asked, stalls: c.stalls}, err
			}
		})
		wantJudged(t, client, 10*time.Second, c.want...)
	}
}

// stalling is a connection on which some of the questions for the time, by their numbers in
// a hundred, are sent late.
type stalling struct {
	net.Conn
	asked  *atomic.Int32
	stalls []int32
}

func (s *stalling) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("\r\ntime\r\n")) && slices.Contains(s.stalls, s.asked.Add(1)%100) {
		time.Sleep(230 * time.Millisecond) // more than a fiftieth of the TTL
	}
	return s.Conn.Write(p)
}

func TestCheckFindsWhatAProxyDoesNotPass(t *testing.T) {
	proxy := redistest.NewProxy(t, startFit(t).Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	proxy.AnswerErr("ERR unknown command 'publish'", "publish")
	wantFindings(t, check(t, client), "commands broken")
	proxy.AnswerErr("ERR not allowed here", "publish", "check")
	wantFindings(t, check(t, client), "wake-ups risk")
	proxy.AnswerErr("ERR unknown command 'info'", "info")
	wantFindings(t, check(t, client), "unchecked unknown")
}

func TestCheckFailsIfNoServerAnswers(t *testing.T) {
	server := startFit(t)
	client := server.Client(t)
	server.Kill()
	findings, err := redisstore.Check(t.Context(), client)
	if err == nil {
		t.Error("no error")
	}
	wantFindings(t, findings, "unreachable broken")
}

func TestCheckFindsReplicasThatAreBehind(t *testing.T) {
	t.Parallel()
	primary := startFit(t)
	replica := redistest.StartReplica(t, primary)
	client := primary.Client(t)
	eventually(t, "the replica in step", func() bool {
		return regexp.MustCompile(`state=online,offset=\d+,lag=[01]\b`).MatchString(client.Info(t.Context()).Val())
	})
	wantFindings(t, check(t, client), "min-replicas-to-write risk")
	wantFindings(t, check(t, replica.Client(t)), "role broken", "persistence risk")
	must(t, client.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	must(t, client.ConfigSet(t.Context(), "min-replicas-max-lag", "10").Err())
	wantFindings(t, check(t, client, redisstore.ReplicaAck(1, time.Second)))
	wantFindings(t, check(t, client, redisstore.ReplicaAck(2, time.Second)), "replicas broken")
	wantJudged(t, client, 5*time.Second, "min-replicas-max-lag risk")
	replica.Pause()
	defer replica.Resume()
	eventually(t, "the fault", func() bool { return regexp.MustCompile(`lag=[3-9]`).MatchString(client.Info(t.Context()).Val()) })
	wantFindings(t, check(t, client), "replica-lag risk")
}

func TestCheckSeesSentinels(t *testing.T) {
	t.Parallel()
	group := redistest.StartSentinel(t, 1, slices.Concat(fit, []string{"--min-replicas-to-write", "1"})...)
	client := group.Client(t)
	wantFindings(t, check(t, client))
	wantFindings(t, check(t, group.Sentinels[0].Client(t)), "kind broken")
	group.Sentinels[1].Kill()
	group.Sentinels[2].Kill()
	eventually(t, "the fault", func() bool {
		return client.PubSubNumSub(t.Context(), "__sentinel__:hello").Val()["__sentinel__:hello"] == 1
	})
	wantFindings(t, check(t, client), "sentinel risk")
	group.Replicas[0].Kill()
	eventually(t, "the fault", func() bool { return strings.Contains(client.Info(t.Context()).Val(), "connected_slaves:0") })
	wantFindings(t, check(t, client), "sentinel risk", "replicas risk", "min-replicas-to-write broken")
}

func TestCheckSeesAllMastersOfACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, fit...)
	client := cluster.Client(t)
	wantFindings(t, check(t, client), "replicas risk", "replicas risk", "replicas risk")
	must(t, cluster.Nodes()[1].Client(t).ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	found := check(t, client)
	if !slices.ContainsFunc(found, func(f redisstore.Finding) bool {
		return f.Name == "maxmemory-policy" && strings.HasPrefix(f.Why, cluster.Nodes()[1].Addr()+" ")
	}) {
		t.Errorf("the second node's policy is not found: %+v", found)
	}
	cluster.Nodes()[2].Kill()
	eventually(t, "the fault", func() bool {
		return strings.Contains(cluster.Nodes()[0].Client(t).ClusterInfo(t.Context()).Val(), "cluster_state:fail")
	})
	found = check(t, client)
	for _, name := range []string{"unreachable", "cluster"} {
		if !slices.ContainsFunc(found, func(f redisstore.Finding) bool { return f.Name == name && f.Severity == redisstore.Broken }) {
			t.Errorf("%s is not found: %+v", name, found)
		}
	}
}

// Two masters that send clients to each other for a slot count it as served.
func TestCheckFindsASlotThatNoMasterServes(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, fit...)
	nodes := cluster.Nodes()
	key := cluster.KeyOn(t, nodes[0], "guard:k")
	id := nodes[1].Client(t).ClusterMyID(t.Context()).Val()
	must(t, nodes[0].Client(t).Do(t.Context(), "cluster", "setslot", cluster.Slot(t, key), "node", id).Err())
	for _, node := range nodes {
		if info := node.Client(t).ClusterInfo(t.Context()).Val(); !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_ok:16384") {
			t.Errorf("%s sees it itself: %s", node.Addr(), info)
		}
	}
	found := check(t, cluster.Client(t))
	wantFindings(t, found, "cluster broken", "replicas risk", "replicas risk", "replicas risk")
	for _, word := range []string{fmt.Sprintf(" 1 of 16384 slots: of slot %d ", cluster.Slot(t, key)), nodes[0].Addr(), nodes[1].Addr()} {
		if !strings.Contains(found[0].Why, word) {
			t.Errorf("%q is missing: %s", word, found[0].Why)
		}
	}
	// A disagreement that ends is none: a slot that has just moved is not known to all.
	slot, late := cluster.Slot(t, key), []*redis.Client{nodes[1].Client(t), nodes[2].Client(t)}
	done := make(chan error, 1)
	time.AfterFunc(time.Second, func() {
		var errs []error
		for _, node := range late {
			errs = append(errs, node.Do(context.Background(), "cluster", "setslot", slot, "node", id).Err())
		}
		done <- errors.Join(errs...)
	})
	found = check(t, cluster.Client(t))
	must(t, <-done)
	wantFindings(t, found, "replicas risk", "replicas risk", "replicas risk")
}

// A real server says what these tests want only if what it says is changed on the way:
// clock, version and kind.
func TestCheckReadsClockVersionAndKind(t *testing.T) {
	server := startFit(t)
	version := regexp.MustCompile(`redis_version:(\S+)`)
	for name, c := range map[string]struct {
		change func(string) string
		want   string
	}{
		"clock": {func(s string) string {
			return regexp.MustCompile(`^\*2\r\n\$10\r\n1`).ReplaceAllString(s, "*2\r\n$$10\r\n2")
		}, "clock risk"},
		"version": {func(s string) string {
			return version.ReplaceAllStringFunc(s, func(v string) string { return v[:14] + "6" + v[15:] })
		}, "version broken"},
		"kind": {func(s string) string { return strings.Replace(s, "redis_git_sha1", "garnet_version", 1) }, "kind risk"},
	} {
		t.Run(name, func(t *testing.T) {
			client := server.Client(t, func(o *redis.Options) {
				o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
					var d net.Dialer
					conn, err := d.DialContext(ctx, network, addr)
					return &changed{Conn: conn, change: c.change}, err
				}
			})
			wantFindings(t, check(t, client), c.want)
		})
	}
}

// changed is a connection on which what the server says is changed, to the same length.
type changed struct {
	net.Conn
	change func(string) string
}

func (c *changed) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	copy(p[:n], c.change(string(p[:n])))
	return n, err
}
