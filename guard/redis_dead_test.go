package guard_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// queueEnv makes a child process wait for "k" with so many callers, under Limit(1) if it
// begins with "limit ".
const queueEnv = "JOBGUARD_TEST_QUEUE"

// waitInLine is that child. addrs has several addresses for a Cluster.
func waitInLine(addrs string) {
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: strings.Split(addrs, ","), IsClusterMode: strings.Contains(addrs, ",")})
	opts := []guard.Option{guard.TTL(childTTL)}
	number, limit := strings.CutPrefix(os.Getenv(queueEnv), "limit ")
	if limit {
		opts = append(opts, guard.Limit(1))
	}
	g, err := guard.New(redisstore.New(client), opts...)
	if err != nil {
		panic(err)
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		panic(err)
	}
	for range n {
		go func() {
			_ = g.Do(context.Background(), "k", func(ctx context.Context) error { <-ctx.Done(); return nil })
		}()
	}
	fmt.Println("held")
	select {}
}

func TestRedisCallersOfADeadProcessBlockTheNextForTheTTLAtMost(t *testing.T) {
	t.Parallel()
	single, cluster := redistest.Start(t), redistest.StartCluster(t)
	killed := func(t testing.TB, p *os.Process) { must(t, p.Kill()) }
	for _, c := range []struct {
		name    string
		die     func(testing.TB, *os.Process)
		callers string
		limit   int
		client  func(testing.TB) redis.UniversalClient
		addrs   string
	}{
		{"killed", killed, "200", 0, func(t testing.TB) redis.UniversalClient { return single.Client(t) }, single.Addr()},
		{"stopped", redistest.Suspend, "200", 0, func(t testing.TB) redis.UniversalClient { return single.Client(t) }, single.Addr()},
		{"stopped, with a limit", redistest.Suspend, "limit 200", 1, func(t testing.TB) redis.UniversalClient { return single.Client(t) }, single.Addr()},
		{"killed, on a Cluster", killed, "10", 0, func(t testing.TB) redis.UniversalClient { return cluster.Client(t) }, strings.Join(cluster.Addrs(), ",")},
		{"stopped, with a limit on a Cluster", redistest.Suspend, "limit 10", 1, func(t testing.TB) redis.UniversalClient { return cluster.Client(t) }, strings.Join(cluster.Addrs(), ",")},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := []guard.Option{guard.TTL(time.Minute)} // the child's is the one that counts
			if c.limit > 0 {
				opts = append(opts, guard.Limit(c.limit))
			}
			end, _ := hold(t, onClient(t, c.client(t), nil, opts...), "k")
			p := startChild(t, c.addrs, queueEnv+"="+c.callers)
			admin := c.client(t)
			eventually(t, "a place in the queue", func() bool { return places(t, admin, "k") == 1 })
			time.Sleep(childTTL / 2) // the wake-ups work by then
			c.die(t, p.cmd.Process)
			end()
			next := onClient(t, c.client(t), nil, opts...)
			inTime(t, childTTL+2*time.Second, "the next caller", func() {
				noError(t, next.Do(t.Context(), "k", nothing))
			})
			must(t, p.cmd.Process.Kill())
			eventually(t, "an empty queue", func() bool { return places(t, admin, "k") == 0 })
		})
	}
}

// places counts the places in the queue of key.
func places(t testing.TB, admin redis.UniversalClient, key string) (n int) {
	t.Helper()
	count := func(ctx context.Context, node *redis.Client) error {
		for _, queue := range node.Keys(ctx, "guard:w:{*}:"+key).Val() {
			n += int(node.ZCard(ctx, queue).Val())
		}
		return nil
	}
	switch c := admin.(type) {
	case *redis.Client:
		must(t, count(t.Context(), c))
	case *redis.ClusterClient:
		var mu sync.Mutex
		must(t, c.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			return count(ctx, node)
		}))
	}
	return n
}

// After an outage there are places of callers that gave up meanwhile, and whose release
// came to nothing.
func TestRedisPlacesThatNoCallerNeedsDoNotBlockAFreeKey(t *testing.T) {
	s := redistest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	endElsewhere, _ := hold(t, onRedis(t, s.Addr()), "elsewhere")
	defer endElsewhere()
	end, ended := hold(t, onRedis(t, s.Addr()), "k")
	admin := s.Client(t)
	var inboxes []string // holders may have one too, to be told to stop
	for range 8 {
		store := redisstore.New(s.Client(t))
		g := newGuard(t, store)
		waiting.Go(func() { _ = g.Do(ctx, "elsewhere", nothing) }) // the process is alive
		owner := store.NewOwner("")
		inboxes = append(inboxes, "guard:inbox:"+lease.OwnerProcess(owner))
		store.Watch(owner, lease.WakeFunc(func(lease.Grant) bool { return false }))
		limit, stop := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := store.Acquire(limit, lease.AcquireRequest{
			Key: "k", Owner: owner, TTL: time.Minute, Join: true, TokenCount: 1,
			Place: lease.Place{Reservation: 30 * time.Second, Poll: 5 * time.Second},
		})
		stop()
		must(t, err)
		store.Unwatch(owner)
	}
	eventually(t, "all to listen", func() bool {
		for _, listeners := range admin.PubSubNumSub(t.Context(), inboxes...).Val() {
			if listeners == 0 {
				return false
			}
		}
		return true
	})
	end()
	noError(t, arrives(t, "the holder's result", ended))
	fresh := onRedis(t, s.Addr())
	inTime(t, 15*time.Second, "the next caller, for whom no reservation has to end", func() {
		noError(t, fresh.Do(t.Context(), "k", nothing))
	})
}

// After a planned failover the connections stay open: the subscriptions are left at the
// old primary, which hears all, and the new one counts no subscriber.
func TestRedisProcessesTakeTurnsAfterAPlannedFailover(t *testing.T) {
	t.Parallel()
	clients := func(t *testing.T, dial func() *redis.Client) (turns *[2]atomic.Int64) {
		turns = new([2]atomic.Int64)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for i := range turns {
			g := onClient(t, dial(), nil, guard.TTL(5*time.Second))
			running.Go(func() {
				for ctx.Err() == nil {
					_ = g.Do(ctx, "hot", func(context.Context) error {
						turns[i].Add(1)
						time.Sleep(20 * time.Millisecond)
						return nil
					})
				}
			})
		}
		t.Cleanup(func() { cancel(); running.Wait() })
		return turns
	}
	count := func(turns *[2]atomic.Int64, d time.Duration) (fewer, more int64) {
		a, b := turns[0].Load(), turns[1].Load()
		time.Sleep(d)
		a, b = turns[0].Load()-a, turns[1].Load()-b
		return min(a, b), max(a, b)
	}
	// Waiters that only poll have 6 turns in that time, and those that are woken 100, on a
	// machine that has nothing else to do. While the old primary is not yet linked to the
	// new one, wake-ups do not pass: hence the second look.
	fair := func(t *testing.T, turns *[2]atomic.Int64, when string) {
		t.Helper()
		for range 2 {
			fewer, more := count(turns, 5*time.Second)
			t.Logf("%s the failover: %d and %d turns", when, fewer, more)
			if more >= 20 && float64(fewer) >= 0.7*float64(more) {
				return
			}
		}
		t.Errorf("%s the failover: the turns are too few, or not shared", when)
	}
	var subtests redistest.AtOnce
	defer subtests.Wait()
	subtests.Run(t, "by Sentinel", func(t *testing.T) {
		s := redistest.StartSentinel(t, 1)
		turns := clients(t, func() *redis.Client { return s.Client(t) })
		fair(t, turns, "before")
		s.Failover(t)
		time.Sleep(3 * time.Second)
		fair(t, turns, "after")
	})
	subtests.Run(t, "by FAILOVER behind a name", func(t *testing.T) {
		old := redistest.Start(t)
		next := redistest.StartReplica(t, old)
		var address atomic.Value
		address.Store(old.Addr())
		turns := clients(t, func() *redis.Client {
			return redis.NewClient(&redis.Options{Addr: "redis:6379", Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address.Load().(string))
			}})
		})
		fair(t, turns, "before")
		address.Store(next.Addr())
		must(t, old.Client(t).Do(t.Context(), "failover", "to", "127.0.0.1", strconv.Itoa(next.Port())).Err())
		time.Sleep(3 * time.Second)
		fair(t, turns, "after")
	})
}
