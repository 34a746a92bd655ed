package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/internal/testserver"
)

// A SentinelGroup is a primary, its replicas, and three Sentinels that watch
// them and fail over when two of them agree.
type SentinelGroup struct {
	MasterName string    // the name by which Sentinels know the primary
	Primary    *Server   // the primary at the start; see Current
	Replicas   []*Server // the replicas at the start
	Sentinels  []*Server
}

const (
	sentinels = 3
	quorum    = sentinels/2 + 1

	// Sentinels call a server down after this time without an answer. A busy
	// machine holds a healthy one up for less.
	downAfter = time.Second
)

// StartSentinel starts a primary with the given number of replicas and three
// Sentinels, and returns when every Sentinel knows all of them. args go to the
// data servers.
//
// A killed primary is replaced after two to four seconds; [SentinelGroup.Failover]
// does it at once. Replication is asynchronous and nothing here hides it: to
// make a replica stale pause it, or let it follow through a [Proxy].
func StartSentinel(t testing.TB, replicas int, args ...string) *SentinelGroup {
	t.Helper()
	if replicas < 1 {
		t.Fatal("redistest: StartSentinel needs at least one replica to fail over to")
	}
	g := &SentinelGroup{MasterName: "primary", Primary: Start(t, args...)}
	for range replicas {
		g.Replicas = append(g.Replicas, StartReplica(t, g.Primary, args...))
	}
	for range sentinels {
		g.Sentinels = append(g.Sentinels, g.startSentinel(t))
	}
	for _, s := range g.Sentinels {
		if !testserver.Poll(func() bool { return g.settled(s) }) {
			t.Fatalf("redistest: Sentinel %s does not know everyone; %s", s.Addr(), s.Log())
		}
	}
	return g
}

// startSentinel writes the configuration that a Sentinel needs as a file of its
// own, because it keeps its state there.
func (g *SentinelGroup) startSentinel(t testing.TB) *Server {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "sentinel.conf")
	config := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]d %[3]d\n"+
		"sentinel down-after-milliseconds %[1]s %[4]d\n"+
		"sentinel failover-timeout %[1]s 5000\n",
		g.MasterName, g.Primary.Port(), quorum, downAfter.Milliseconds())
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatalf("redistest: %v", err)
	}
	return start(t, dir, func(port int) []string {
		return []string{
			file,
			"--sentinel",
			"--port", strconv.Itoa(port),
			"--bind", "127.0.0.1",
			"--dir", dir,
		}
	})
}

// settled reports whether Sentinel s sees the primary alive, all replicas
// attached and all other Sentinels.
func (g *SentinelGroup) settled(s *Server) bool {
	state := g.state(s)
	return state["flags"] == "master" &&
		state["num-slaves"] == strconv.Itoa(len(g.Replicas)) &&
		state["num-other-sentinels"] == strconv.Itoa(sentinels-1)
}

// state is what Sentinel s says about the primary; nil if it does not answer.
func (g *SentinelGroup) state(s *Server) map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	client := redis.NewSentinelClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1})
	defer func() { _ = client.Close() }() // the reply has been read
	return client.Master(ctx, g.MasterName).Val()
}

// SentinelAddrs returns host:port of the three Sentinels.
func (g *SentinelGroup) SentinelAddrs() []string { return addrs(g.Sentinels) }

func addrs(servers []*Server) []string {
	all := make([]string, len(servers))
	for i, s := range servers {
		all[i] = s.Addr()
	}
	return all
}

// Client returns a new client that finds the primary through the Sentinels. It
// is closed when t ends.
func (g *SentinelGroup) Client(t testing.TB, opts ...func(*redis.FailoverOptions)) *redis.Client {
	t.Helper()
	o := &redis.FailoverOptions{MasterName: g.MasterName, SentinelAddrs: g.SentinelAddrs()}
	for _, opt := range opts {
		opt(o)
	}
	client := redis.NewFailoverClient(o)
	t.Cleanup(func() { _ = client.Close() }) // the test may have closed it itself
	return client
}

// Current returns the server that most Sentinels call the primary, or nil while
// there is no such majority.
func (g *SentinelGroup) Current() *Server {
	votes := map[string]int{}
	for _, s := range g.Sentinels {
		state := g.state(s)
		addr := net.JoinHostPort(state["ip"], state["port"])
		votes[addr]++
		if votes[addr] < quorum {
			continue
		}
		for _, server := range append([]*Server{g.Primary}, g.Replicas...) {
			if server.Addr() == addr {
				return server
			}
		}
	}
	return nil
}

// Failover makes the Sentinels replace the primary now, alive or not, and
// returns the new primary when it takes writes and most Sentinels know it.
func (g *SentinelGroup) Failover(t testing.TB) *Server {
	t.Helper()
	old := g.Current()
	g.Sentinels[0].must(t, "SENTINEL", "FAILOVER", g.MasterName)
	return g.AwaitFailover(t, old)
}

// AwaitFailover waits until most Sentinels call another server than old the
// primary and it takes writes, and returns it.
func (g *SentinelGroup) AwaitFailover(t testing.TB, old *Server) *Server {
	t.Helper()
	var now *Server
	done := testserver.Poll(func() bool {
		now = g.Current()
		return now != nil && now != old && now.info("replication", "role") == "master"
	})
	if !done {
		t.Fatalf("redistest: no failover away from %s; %s", old.Addr(), g.Sentinels[0].Log())
	}
	return now
}
