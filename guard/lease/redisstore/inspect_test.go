package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// operatorUser is the documented operator.
func operatorUser(t *testing.T) serverUser {
	u := documentedUser(t)
	more := slices.Clone(u.rule[5:]) // without ACL SETUSER name on password
	u.rule = append([]any{"ACL", "SETUSER", "operator", "on", ">secret"}, more...)
	u.name, u.password = "operator", "secret"
	u.rule = append(u.rule, documentedRights(t, "operator")...)
	return u
}

func documentedRights(t *testing.T, user string) (rights []any) {
	doc, err := os.ReadFile("../../../docs/behaviour/redisstore.md")
	must(t, err)
	_, line, found := strings.Cut(string(doc), "ACL SETUSER "+user+" ")
	line, _, _ = strings.Cut(line, "\n")
	if !found {
		t.Fatalf("the documentation names no user %q", user)
	}
	for _, word := range strings.Fields(line) {
		rights = append(rights, word)
	}
	return rights
}

// Holders, waiters and all other modes, as the least privileged operator.
func TestInspectTellsModes(t *testing.T) {
	server := redistest.Start(t)
	admin := server.Client(t)
	user := operatorUser(t)
	user.join(t, admin)
	inspectsModes(t, admin, server.Client(t), server.Client(t, as(user.name, user.password)))
	user.wasDeniedNothing(t, admin)
}

func TestInspectTellsModesOnACluster(t *testing.T) {
	cluster := redistest.StartCluster(t)
	user := operatorUser(t)
	masters := nodes(t, cluster.Client(t))
	for _, node := range masters {
		user.join(t, node)
	}
	login := func(o *redis.ClusterOptions) { o.Username, o.Password = user.name, user.password }
	inspectsModes(t, cluster.Client(t), cluster.Client(t), cluster.Client(t, login))
	for _, node := range masters {
		user.wasDeniedNothing(t, node)
	}
}

func inspectsModes(t *testing.T, admin, client, operator redis.UniversalClient) {
	ctx := t.Context()
	p := newProcess(t, client, redisstore.Owner("worker"))
	op := redisstore.New(operator)
	take := func(key string, limit lease.Limit) string {
		owner := p.NewOwner("trace-" + key)
		reply, err := p.acquire(lease.AcquireRequest{Key: key, Owner: owner, Limit: limit})
		if err != nil || !reply.Granted {
			t.Fatalf("acquire %q: %+v, %v", key, reply, err)
		}
		return owner
	}
	take("exclusive", lease.Exclusive)
	first, second := p.NewOwner(""), p.NewOwner("")
	p.refused("exclusive", first, 0)
	p.refused("exclusive", second, 0)
	take("limit", 3)
	take("limit", 3)
	take("shared", lease.Shared)
	kept := take("closed", lease.Exclusive)
	_, err := p.Release(ctx, lease.ReleaseRequest{Key: "closed", Owner: kept, KeepClosed: time.Minute})
	noError(t, err)
	must(t, admin.Set(ctx, "guard:foreign", "cron@host", 0).Err())
	must(t, admin.HSet(ctx, "guard:hash", "a", "b").Err())
	take("w:{1}:odd", lease.Exclusive) // looks like a companion

	want := map[string]redisstore.Mode{
		"exclusive": redisstore.ModeExclusive, "limit": redisstore.ModeLimit, "shared": redisstore.ModeShared,
		"closed": redisstore.ModeClosed, "foreign": redisstore.ModeForeign, "hash": redisstore.ModeForeign,
		"w:{1}:odd": redisstore.ModeExclusive,
	}
	for key, mode := range want {
		i, err := op.Inspect(ctx, key)
		if noError(t, err); i.Mode != mode || i.Key != key || len(i.Holders) == 0 {
			t.Errorf("%q is %+v, want %s", key, i, mode)
		}
	}
	i, err := op.Inspect(ctx, "exclusive")
	noError(t, err)
	h := i.Holders[0]
	if h.Owner != "worker" || h.Process == "" || h.Metadata != "trace-exclusive" || h.Remaining <= 0 || h.Remaining > ttl || i.LastToken == 0 {
		t.Errorf("the holder is %+v, the last token %d", h, i.LastToken)
	}
	if len(i.Queue) != 2 || i.Queue[0].Owner != "worker" || i.Queue[0].Waited < i.Queue[1].Waited || i.Queue[0].Waited > time.Minute {
		t.Errorf("the queue is %+v", i.Queue)
	}
	if i, err = op.Inspect(ctx, "limit"); err != nil || i.Limit != 3 || len(i.Holders) != 2 {
		t.Errorf("the limit is %+v, %v", i, err)
	}
	if i, err = op.Inspect(ctx, "hash"); err != nil || i.Holders[0].Owner != "a hash of another program" {
		t.Errorf("the hash is %+v, %v", i, err)
	}
	if i, err = op.Inspect(ctx, "nothing"); err != nil || i.Mode != redisstore.ModeFree || i.Holders != nil {
		t.Errorf("a free key is %+v, %v", i, err)
	}
	listed := make(map[string]redisstore.Mode)
	for i, err := range op.List(ctx, "") {
		if must(t, err); listed[i.Key] != "" {
			t.Errorf("%q was listed twice", i.Key)
		}
		listed[i.Key] = i.Mode
	}
	if fmt.Sprint(listed) != fmt.Sprint(want) {
		t.Errorf("List() = %v, want %v", listed, want)
	}
	for i, err := range op.List(ctx, "[es]h*") {
		if noError(t, err); i.Key != "shared" {
			t.Errorf("[es]h* lists %q", i.Key)
		}
	}
	orders(t, op)
}

// orders: what Revoke and Break say of each mode; the leases of inspectsModes have no engine.
func orders(t *testing.T, op *redisstore.Store) {
	ctx := t.Context()
	for key, want := range map[string]error{
		"nothing": nil, "closed": redisstore.ErrKeptClosed, "foreign": redisstore.ErrForeign, "hash": redisstore.ErrForeign,
	} {
		if err := op.Revoke(ctx, key, ""); !errors.Is(err, want) {
			t.Errorf("Revoke(%q) = %v, want %v", key, err, want)
		}
	}
	if err := op.Revoke(within(t, time.Second), "limit", ""); !errors.Is(err, redisstore.ErrNoAnswer) || !strings.HasSuffix(err.Error(), "worker, worker") {
		t.Errorf("Revoke() = %v, want the names of those who did not answer", err)
	}
	before, err := op.Inspect(ctx, "exclusive")
	noError(t, err)
	for key, want := range map[string]error{
		"nothing": nil, "limit": nil, "shared": nil, "closed": nil, "foreign": nil, "exclusive": nil, "hash": redisstore.ErrForeign,
	} {
		if err := op.Break(ctx, key); !errors.Is(err, want) {
			t.Errorf("Break(%q) = %v, want %v", key, err, want)
		}
		i, err := op.Inspect(ctx, key)
		noError(t, err)
		if free := i.Mode == redisstore.ModeFree; free != (key != "hash" && key != "exclusive") {
			t.Errorf("after Break %q is %+v", key, i)
		}
	}
	i, err := op.Inspect(ctx, "exclusive") // granted to the head
	noError(t, err)
	if i.Mode != redisstore.ModeExclusive || len(i.Queue) != 1 || i.Holders[0].Metadata != "" || i.LastToken <= before.LastToken {
		t.Errorf("after Break the key is %+v, before it %+v", i, before)
	}
}

// The bars: 100 000 leases in less than 3 s and 64 MiB, and no command over 5 ms.
func TestListOfManyLeasesIsFastAndSmall(t *testing.T) {
	const leases = 100_000
	server := redistest.Start(t)
	client := server.Client(t)
	ctx := t.Context()
	pipe := client.Pipeline()
	for i := range leases {
		pipe.Set(ctx, fmt.Sprintf("guard:order-%d", i), lease.OwnerID("7b1c9c1e-8f5e-4c70-a35b-4e5d5d6f2f01", uint64(i), "host:1234", ""), time.Hour)
		if pipe.Len() == 10_000 {
			_, err := pipe.Exec(ctx)
			must(t, err)
		}
	}
	op := redisstore.New(client)
	best := time.Hour
	allQuick(t, client, func() { best = min(best, listAll(t, op, leases)) })
	t.Logf("%d leases in %v", leases, best)
	if limit := 3 * slack * time.Second; best > limit {
		t.Errorf("it took %v, more than %v", best, limit)
	}
}

// listAll lists n leases, and returns how long it took but for the looks at the memory.
func listAll(t *testing.T, op *redisstore.Store, n int) time.Duration {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(100)) // the default, whatever the environment says: garbage counts
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	began, seen, most := time.Now(), 0, uint64(0)
	var looking time.Duration
	for i, err := range op.List(t.Context(), "") {
		if must(t, err); i.Mode != redisstore.ModeExclusive {
			t.Fatalf("%+v", i)
		}
		if seen++; seen%10_000 == 0 {
			looked := time.Now()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapInuse-min(before.HeapInuse, now.HeapInuse))
			looking += time.Since(looked)
		}
	}
	if seen != n {
		t.Errorf("%d were listed", seen)
	}
	if t.Logf("at most %d KiB more in the heap", most>>10); most > 64<<20 {
		t.Errorf("%d MiB were used", most>>20)
	}
	return time.Since(began) - looking
}

// slack is for the race detector and machines that compile beside the tests: 15 s were seen there.
const slack = 10

func TestListStopsWhenItsContextEnds(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	for i := range 2000 {
		must(t, client.Set(t.Context(), fmt.Sprintf("guard:%d", i), "x", 0).Err())
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var last error
	for _, err := range redisstore.New(client).List(ctx, "") {
		if n++; err != nil {
			last = err
		}
		cancel()
	}
	if !errors.Is(last, context.Canceled) || n > 600 {
		t.Errorf("%d were listed, then %v", n, last)
	}
}

func TestInspectAsksAReplica(t *testing.T) {
	primary := redistest.Start(t)
	replica := redistest.StartReplica(t, primary)
	p := newProcess(t, primary.Client(t))
	p.granted("k", p.NewOwner(""))
	op := redisstore.New(replica.Client(t))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		i, err := op.Inspect(t.Context(), "k")
		must(t, err)
		if i.Mode == redisstore.ModeExclusive {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the replica knows no lease")
		}
	}
	for i, err := range op.List(t.Context(), "*") {
		if must(t, err); i.Key != "k" {
			t.Errorf("List yields %+v", i)
		}
	}
}

func TestBreakWorksWhileMemoryIsFull(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	p.granted("k", p.NewOwner(""))
	next := p.NewOwner("")
	p.refused("k", next, 0)
	must(t, p.client.ConfigSet(t.Context(), "maxmemory", "1").Err())
	must(t, p.Break(within(t, 5*time.Second), "k"))
	if p.value("guard:k") != next {
		t.Errorf("%q holds the key", p.value("guard:k"))
	}
}

func TestTicksListsTheLastTickOfEachSchedule(t *testing.T) {
	server := redistest.Start(t)
	op := redisstore.New(server.Client(t))
	at := time.Now().Truncate(time.Second)
	for n, key := range []string{"cron:a", "cron:b", "w:{1}:odd"} {
		reply, err := op.ClaimTick(within(t, 5*time.Second), lease.TickRequest{Key: key, Owner: op.NewOwner(""), At: at.Add(time.Duration(-n) * time.Hour), MaxAhead: -1})
		if err != nil || !reply.Claimed {
			t.Fatalf("%+v, %v", reply, err)
		}
	}
	found := make(map[string]time.Time)
	for tick, err := range op.Ticks(t.Context(), "") {
		must(t, err)
		found[tick.Key] = tick.At
	}
	if len(found) != 3 || !found["cron:b"].Equal(at.Add(-time.Hour)) || found["w:{1}:odd"].IsZero() {
		t.Errorf("%v", found)
	}
	for tick, err := range op.Ticks(t.Context(), "*:a") {
		if must(t, err); tick.Key != "cron:a" {
			t.Errorf("*:a finds %q", tick.Key)
		}
	}
}
