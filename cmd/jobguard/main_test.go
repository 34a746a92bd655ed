package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// asProgram makes a process of the tests the program itself.
const asProgram = "JOBGUARD_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	redis.SetLogger(silence{})
	code := m.Run()
	var leak error
	for deadline := time.Now().Add(10 * time.Second); ; { // a client's pool dials a dead server again after a second
		if leak = goleak.Find(); leak == nil || time.Now().After(deadline) {
			break
		}
	}
	if code == 0 && leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}

// said is what a run of the program wrote, and its exit code.
type said struct {
	code     int
	out, err string
}

func call(t *testing.T, stdin string, args ...string) said {
	t.Helper()
	var out, err bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &out, &err)
	return said{code, out.String(), err.String()}
}

func (s said) want(t *testing.T, code int, parts ...string) {
	t.Helper()
	if s.code != code {
		t.Errorf("exit code %d, want %d\n%s%s", s.code, code, s.out, s.err)
	}
	for _, part := range parts {
		if !strings.Contains(s.out+s.err, part) {
			t.Errorf("the output does not have %q:\n%s%s", part, s.out, s.err)
		}
	}
}

func urlOf(s *redistest.Server) string { return "redis://" + s.Addr() }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// waitLimit bounds each wait for what a failure keeps from coming; a busy machine stays below.
const waitLimit = time.Minute

// hold has a process named name hold key until its context ends. It listens when hold returns.
func hold(t *testing.T, store lease.Store, key string, opts ...guard.Option) <-chan error {
	t.Helper()
	g, err := guard.New(store, opts...)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	running, result := make(chan struct{}), make(chan error, 1)
	go func() {
		result <- g.Do(ctx, key, func(ctx context.Context) error {
			close(running)
			<-ctx.Done()
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
		defer cancel()
		must(t, g.Shutdown(ctx))
	})
	select {
	case <-running:
	case err := <-result:
		t.Fatalf("holding %q: %v", key, err)
	case <-time.After(waitLimit):
		t.Fatalf("holding %q took too long", key)
	}
	time.Sleep(200 * time.Millisecond) // as the engine does, it listens after 100 ms
	return result
}

// outcome is what a run returns, of a guard or of the program, that has been told to end. An
// order that did not arrive is a failure then, and does not hold the tests up.
func outcome[T any](t *testing.T, result <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-result:
	case <-time.After(waitLimit):
		t.Fatalf("the run goes on after %v", waitLimit)
	}
	return got
}

// everywhere waits until each server of a quorum has a lease on key: a run begins when a
// majority has granted it.
func everywhere(t *testing.T, servers []*redistest.Server, key string) {
	t.Helper()
	ctx := deadline(t)
	for _, server := range servers {
		store := redisstore.New(server.Client(t))
		for found := (lease.Inspection{}); found.Holding == 0; time.Sleep(time.Millisecond) {
			var err error
			found, err = store.Inspect(ctx, key)
			must(t, err)
		}
	}
}

// wait has a process wait for key.
func wait(t *testing.T, client redis.UniversalClient, key string) {
	t.Helper()
	store := redisstore.New(client, redisstore.Owner("waiter"))
	reply, err := store.Acquire(deadline(t), lease.AcquireRequest{Key: key, Owner: store.NewOwner(""), TTL: time.Minute, Join: true, TokenCount: 1,
		Place: lease.Place{Reservation: time.Minute}})
	if must(t, err); reply.Granted {
		t.Fatal("nobody holds the key")
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestKeysAreListedAndShown(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	hold(t, redisstore.New(server.Client(t), redisstore.Owner("web-1")), "report")
	hold(t, redisstore.New(server.Client(t), redisstore.Owner("web-2")), "pool", guard.Limit(3))
	wait(t, client, "report")
	must(t, client.Set(t.Context(), "guard:theirs", "cron\x1b[31m", 0).Err())
	url := urlOf(server)

	call(t, "", "ls", "--redis", url).want(t, exitOK, "KEY", "report  exclusive  web-1", "pool    limit 3    web-2", `theirs  foreign    "cron\x1b[31m"`, "for ever")
	var theirs keyJSON
	must(t, json.Unmarshal([]byte(call(t, "", "show", "theirs", "--json", "--redis", url).out), &theirs))
	if theirs.Holders[0].Remaining != -1 || theirs.Holding != 1 || theirs.Waiting != 0 {
		t.Errorf("%+v", theirs)
	}
	if s := call(t, "", "ls", "po*", "--redis", url); strings.Contains(s.out, "report") || !strings.Contains(s.out, "pool") {
		t.Errorf("ls po*:\n%s", s.out)
	}
	call(t, "", "show", "report", "--redis", url).want(t, exitOK, "report  exclusive  tokens up to ", "web-1", "waiter")
	call(t, "", "queue", "report", "--redis", url).want(t, exitOK, "PLACE", "1      waiter")
	call(t, "", "show", "nothing", "--redis", url).want(t, exitOK, "nothing  free")

	var keys []keyJSON
	for line := range strings.Lines(call(t, "", "ls", "--json", "--redis", url).out) {
		var k keyJSON
		must(t, json.Unmarshal([]byte(line), &k))
		keys = append(keys, k)
	}
	if len(keys) != 3 {
		t.Errorf("%+v", keys)
	}
	var shown keyJSON
	must(t, json.Unmarshal([]byte(call(t, "", "show", "report", "--json", "--redis", url).out), &shown))
	if shown.Mode != "exclusive" || shown.Holders[0].Owner != "web-1" || shown.Holders[0].Remaining <= 0 || len(shown.Queue) != 1 || shown.LastToken == 0 {
		t.Errorf("%+v", shown)
	}
}

func TestRevokeAsksAndTellsTheHolder(t *testing.T) {
	server := redistest.Start(t)
	result := hold(t, redisstore.New(server.Client(t), redisstore.Owner("web-1")), "k")
	url := urlOf(server)
	call(t, "", "revoke", "k", "--redis", url).want(t, exitUsage, "reason")
	call(t, "no\n", "revoke", "k", "--reason", "r", "--redis", url).want(t, exitDeclined, "Tell web-1 to stop? [yes/no]")
	call(t, "", "revoke", "k", "--reason", "r", "--redis", url).want(t, exitDeclined)
	if len(result) > 0 {
		t.Fatalf("it was told without a yes: %v", <-result)
	}
	call(t, "yes\n", "revoke", "k", "--reason", "hangs, Ada", "--redis", url).want(t, exitOK, "told to stop")
	if err := outcome(t, result); !errors.Is(err, guard.ErrRevoked) || !strings.Contains(err.Error(), "hangs, Ada") {
		t.Errorf("the holder got %v", err)
	}
	call(t, "", "revoke", "k", "--reason", "r", "--redis", url).want(t, exitNobody, `nobody holds k under the prefix "guard:"`)
}

func TestBreakAsksAndFreesTheKeyOfADeadProcess(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	must(t, client.Set(t.Context(), "guard:k", lease.OwnerID("gone", 1, "web-1", ""), time.Hour).Err())
	url := urlOf(server)
	call(t, "", "revoke", "k", "--reason", "r", "--yes", "--redis", url).want(t, exitNoAnswer, "the holder did not answer: web-1")
	call(t, "y\n", "break", "k", "--redis", url).want(t, exitDeclined, "Take the key from web-1?", "may run beside the next one")
	call(t, "", "break", "k", "--yes", "--redis", url).want(t, exitOK, "now free")
	if n := client.Exists(t.Context(), "guard:k").Val(); n != 0 {
		t.Error("the lease is still there")
	}
	must(t, client.HSet(t.Context(), "guard:h", "a", "b").Err())
	call(t, "", "break", "h", "--yes", "--redis", url).want(t, exitFailed, "not a lease of jobguard")
}

func TestShowComparesTheServersOfAQuorum(t *testing.T) {
	servers := redistest.StartN(t, 3)
	args := []string{"show", "k"}
	var stores []lease.Store
	for _, s := range servers {
		stores = append(stores, redisstore.New(s.Client(t), redisstore.Owner("web-1")))
		args = append(args, "--redis", urlOf(s))
	}
	store, err := quorum.New(stores...)
	must(t, err)
	hold(t, store, "k")
	everywhere(t, servers, "k")
	call(t, "", args...).want(t, exitOK, "3 of 3 servers agree: exclusive web-1")
	must(t, servers[0].Client(t).Set(t.Context(), "guard:k", "x", time.Hour).Err())
	call(t, "", args...).want(t, exitOK, "2 of 3 servers agree: exclusive web-1", "foreign")
	must(t, servers[1].Client(t).Set(t.Context(), "guard:k", "y", time.Hour).Err())
	call(t, "", args...).want(t, exitNoAnswer, "no majority of the nodes agrees")
	s := call(t, "", append(args, "--json")...)
	s.want(t, exitNoAnswer)
	var n nodesJSON
	must(t, json.Unmarshal([]byte(s.out), &n))
	if n.Agreed || n.Servers != 3 || n.Agree != 1 || n.Verdict != nil || n.Nodes[0].Has.Mode != "foreign" || n.Nodes[2].Has.Mode != "exclusive" {
		t.Errorf("%+v, from %s", n, s.out)
	}
	servers[0].Kill()
	servers[1].Kill()
	call(t, "", args...).want(t, exitNoAnswer, "error", "refused")
	servers[2].Kill()
	call(t, "", args...).want(t, exitFailed, "no server answers")
	call(t, "", args[:len(args)-2]...).want(t, exitUsage, "need at least 3")
	call(t, "", append([]string{"ls"}, args[2:]...)...).want(t, exitUsage, "takes one --redis")
}

func TestOrdersGoToAllServersOfAQuorum(t *testing.T) {
	servers := redistest.StartN(t, 3)
	var urls []string
	var stores []lease.Store
	for _, s := range servers {
		stores = append(stores, redisstore.New(s.Client(t), redisstore.Owner("web-1")))
		urls = append(urls, "--redis", urlOf(s))
	}
	store, err := quorum.New(stores...)
	must(t, err)
	result := hold(t, store, "k")
	everywhere(t, servers, "k")
	order := func(stdin string, args ...string) said { return call(t, stdin, append(args, urls...)...) }
	order("yes\n", "revoke", "k", "--reason", "hangs").want(t, exitOK, "3 of 3 servers agree: exclusive web-1", "Tell web-1 to stop?", "told to stop")
	if err := outcome(t, result); !errors.Is(err, guard.ErrRevoked) {
		t.Errorf("the holder got %v", err)
	}
	order("", "revoke", "k", "--reason", "hangs").want(t, exitNobody, "nobody holds k")
	order("", "revoke", "k", "--reason", "hangs", "--yes").want(t, exitNobody, "nobody holds k")

	// What an owner that is gone left on two servers, with another on the third.
	for i, s := range servers {
		must(t, s.Client(t).Set(t.Context(), "guard:k", lease.OwnerID("gone", uint64(i/2), "web-2", ""), time.Hour).Err())
	}
	order("no\n", "break", "k").want(t, exitDeclined, "Take the key from web-2?")
	servers[0].Kill()
	order("no\n", "break", "k").want(t, exitDeclined)
	order("yes\n", "break", "k").want(t, exitOK, "now free")
	servers[1].Kill()
	order("", "break", "k", "--yes").want(t, exitFailed, "1 of 3 nodes answered")
}

// output is a buffer that one goroutine writes and another reads.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await waits until text was written.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(o.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q in:\n%s", text, o.String())
		}
	}
}

func TestWatchWritesALineForEachChange(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out output
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"watch", "--interval", "10ms", "--redis", urlOf(server)}, strings.NewReader(""), &out, &out)
	}()
	must(t, client.Set(ctx, "guard:k", lease.OwnerID("p", 1, "web-1", ""), time.Hour).Err())
	out.await(t, "k  exclusive web-1\n")
	wait(t, client, "k")
	out.await(t, "k  exclusive web-1, 1 wait\n")
	must(t, client.FlushDB(ctx).Err()) // the lease and the queue in one step
	out.await(t, "k  free\n")
	cancel()
	if c := outcome(t, code); c != exitOK {
		t.Errorf("exit code %d", c)
	}
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}

func TestTicksAreListed(t *testing.T) {
	server := redistest.Start(t)
	store := redisstore.New(server.Client(t), redisstore.Owner("web-1"))
	at := time.Now().Truncate(time.Second)
	_, err := store.ClaimTick(deadline(t), lease.TickRequest{Key: "nightly", Owner: store.NewOwner(""), At: at, MaxAhead: -1})
	must(t, err)
	call(t, "", "ticks", "--redis", urlOf(server)).want(t, exitOK, "nightly", at.Format(time.RFC3339), "open", "web-1")
	call(t, "", "show", "nightly", "--redis", urlOf(server)).want(t, exitOK, "last tick  "+at.Format(time.RFC3339)+"  open")
}

func TestAllKindsOfURLs(t *testing.T) {
	cluster := redistest.StartCluster(t)
	must(t, cluster.Client(t).Set(t.Context(), "guard:k", "x", 0).Err())
	call(t, "", "ls", "--redis", "redis+cluster://"+cluster.Addrs()[0]).want(t, exitOK, "k    foreign")

	group := redistest.StartSentinel(t, 1)
	must(t, group.Client(t).Set(t.Context(), "guard:k", "x", 0).Err())
	call(t, "", "show", "k", "--redis", "redis+sentinel://"+group.SentinelAddrs()[0]+"/0?master_name="+group.MasterName).want(t, exitOK, "k  foreign")

	socket := filepath.Join(t.TempDir(), "redis.sock")
	server := redistest.Start(t, "--unixsocket", socket)
	must(t, server.Client(t).Set(t.Context(), "guard:k", "x", 0).Err())
	call(t, "", "show", "k", "--redis", "unix://"+socket).want(t, exitOK, "k  foreign")
	t.Setenv("REDIS_URL", urlOf(server))
	call(t, "", "show", "k").want(t, exitOK, "k  foreign")
}

func TestWrongUsageAndFailuresHaveTheirExitCodes(t *testing.T) {
	call(t, "", "nonsense").want(t, exitUsage, "unknown command")
	call(t, "", "ls", "--nonsense").want(t, exitUsage)
	call(t, "", "show").want(t, exitUsage)
	call(t, "", "ls", "--redis", "http://x").want(t, exitUsage, "the URL of the server")
	for _, url := range []string{"redis://limited@host", "redis+cluster://limited:@host", "redis+sentinel://u:p@host/0?master_name=m&username=limited"} {
		call(t, "", "ls", "--redis", url).want(t, exitUsage, "a user without a password")
	}
	call(t, "", "ls", "--redis", "redis+ring://x").want(t, exitUsage, "unknown kind")
	call(t, "", "ls", "--redis", "redis+sentinel://x").want(t, exitUsage, "master_name")
	call(t, "", "ls", "--prefix", "a{b").want(t, exitUsage, "--prefix")
	call(t, "", "ls", "--redis", "redis://127.0.0.1:1").want(t, exitFailed, "refused")
	call(t, "", "--help").want(t, exitOK, "Exit codes:", "no majority agrees")
}

// Whatever is wrong with a URL or the server, the password is not printed.
func TestNoPasswordIsPrinted(t *testing.T) {
	const secret = "s3cret"
	server := redistest.Start(t)
	open := urlOf(redistest.Start(t))
	must(t, server.Client(t).ConfigSet(t.Context(), "requirepass", "other").Err())
	for _, url := range []string{
		"redis://:" + secret + "@" + server.Addr(), "redis://u:" + secret + "@" + server.Addr() + "/0?nonsense=1",
		"redis://:" + secret + "@127.0.0.1:1", "redis://:" + secret + "@host:port:1", "redis://:" + secret + "/@host:1",
		"redis://:" + secret + "%@host:1", "http://:" + secret + "@host", "redis+ring://:" + secret + "@host",
		"redis+cluster://:" + secret + "@host:1?dial_timeout=x", "redis+sentinel://:" + secret + "@host:1",
		"redis://:" + secret + "\x7f@host", "redis://user:pa:" + secret + "@@host:x", "redis://:" + secret + "@" + server.Addr() + "/x",
	} {
		for _, args := range [][]string{{"ls"}, {"show", "k"}, {"show", "k", "--redis", open}} {
			s := call(t, "", append(args, "--redis", url)...)
			if s.code == exitOK || strings.Contains(s.out+s.err, secret) {
				t.Errorf("%v with %q: exit code %d\n%s%s", args, url, s.code, s.out, s.err)
			}
		}
	}
}

func TestManualPagesAndCompletionAreThere(t *testing.T) {
	dir := t.TempDir()
	call(t, "", "man", dir).want(t, exitOK)
	page, err := os.ReadFile(filepath.Join(dir, "jobguard-revoke.1"))
	if must(t, err); !bytes.Contains(page, []byte("reason")) {
		t.Error("the page of revoke does not have its flag")
	}
	call(t, "", "completion", "bash").want(t, exitOK, "jobguard")
}

func Example() {
	fmt.Println(run(context.Background(), []string{"ls", "--redis", "redis+ring://host"}, nil, os.Stdout, os.Stdout))
	// Output:
	// jobguard: the URL of the server redis+ring://host: unknown kind +ring: sentinel or cluster
	// 2
}
