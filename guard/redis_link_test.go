package guard_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/internal/redistest"
)

// pooled has client keep n idle connections, as the program's own commands do at a
// busy time. key decides the node.
func pooled(t testing.TB, client redis.UniversalClient, key string, n int) {
	t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() { client.BLPop(context.Background(), time.Second, key) })
	}
	all.Wait()
}

// Something in the network has dropped all idle connections without a word.
func TestRedisSilentConnectionsCostOneShortTimeout(t *testing.T) {
	t.Parallel()
	const conns, key, timeout = 8, "k", 10 * time.Second
	var subtests redistest.AtOnce
	defer subtests.Wait()
	for name, start := range map[string]func(*testing.T) (redis.UniversalClient, *redistest.Proxy){
		"single": func(t *testing.T) (redis.UniversalClient, *redistest.Proxy) {
			p := redistest.NewProxy(t, redistest.Start(t).Addr())
			return redis.NewClient(&redis.Options{Addr: p.Addr(), ReadTimeout: timeout}), p
		},
		"Sentinel": func(t *testing.T) (redis.UniversalClient, *redistest.Proxy) {
			group := redistest.StartSentinel(t, 1)
			p := redistest.NewProxy(t, group.Primary.Addr())
			return group.Client(t, func(o *redis.FailoverOptions) { o.Dialer, o.ReadTimeout = redistest.DialVia(p), timeout }), p
		},
		"Cluster": func(t *testing.T) (redis.UniversalClient, *redistest.Proxy) {
			cluster := redistest.StartCluster(t)
			p := redistest.NewProxy(t, cluster.Master(t, "guard:"+key).Addr())
			return cluster.Client(t, func(o *redis.ClusterOptions) { o.Dialer, o.ReadTimeout = redistest.DialVia(p), timeout }), p
		},
	} {
		for _, before := range []string{"", ", after a first Do"} {
			subtests.Run(t, name+before, func(t *testing.T) {
				client, proxy := start(t)
				g := onClient(t, client, nil, guard.TTL(10*time.Second))
				if before != "" {
					noError(t, g.Do(t.Context(), key, nothing))
				}
				pooled(t, client, "guard:"+key, conns)
				if n := proxy.Forget(); n < conns {
					t.Fatalf("only %d connections to forget", n)
				}
				start := time.Now()
				inTime(t, timeout/2, "the first Do", func() { noError(t, g.Do(t.Context(), key, nothing)) })
				t.Log("the first Do took", time.Since(start).Round(time.Millisecond))
				start = time.Now()
				inTime(t, 2*time.Second, "eight more", func() {
					for range conns {
						noError(t, g.Do(t.Context(), key, nothing))
					}
				})
				t.Log("eight more took", time.Since(start).Round(time.Millisecond))
			})
		}
	}
}

// A second over the first renewal at a third of the TTL.
func TestRedisOneSilentConnectionOnASlowLinkLosesNoLease(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewProxy(t, redistest.Start(t).Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	g := onClient(t, client, nil, guard.TTL(12*time.Second))
	proxy.Delay(200 * time.Millisecond)
	noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
		proxy.Forget()
		select {
		case <-time.After(13 * time.Second):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}))
}

func TestRedisLinkOf700MillisecondsWorksFromTheStart(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewProxy(t, redistest.Start(t).Addr())
	proxy.Delay(350 * time.Millisecond)
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	failed := &recorder{}
	g := onClient(t, client, nil, guard.TTL(10*time.Second), guard.Observe(failed))
	start := time.Now()
	noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
		t.Log("granted after", time.Since(start).Round(time.Millisecond))
		select {
		case <-time.After(linkHold):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}))
	if failed.saw(guard.EventRenewFailed) || failed.saw(guard.EventReleaseFailed) {
		t.Error("a call failed on a link without faults")
	}
	best := time.Hour
	for range 3 { // one may meet a connection of the pool that no command has used yet
		start := time.Now()
		noError(t, g.Do(t.Context(), "k", nothing))
		best = min(best, time.Since(start))
	}
	if best > 2500*time.Millisecond {
		t.Errorf("a Do takes %v, and it is two round trips", best)
	}
}

// linkHold is three renewals; make it a minute to be sure.
const linkHold = 12 * time.Second

// Four commands of the program block for long, on a pool of four.
func TestRedisBlockingCommandsOfTheProgramCostNoLease(t *testing.T) {
	t.Parallel()
	var subtests redistest.AtOnce
	defer subtests.Wait()
	for name, own := range map[string]bool{"a pool of the guard's own": true, "a shared pool": false} {
		subtests.Run(t, name, func(t *testing.T) {
			options := redis.Options{Addr: redistest.Start(t).Addr(), PoolSize: 4}
			program := redis.NewClient(&options)
			client := program
			if own {
				client = redis.NewClient(&options)
				defer program.Close()
			}
			g := onClient(t, client, nil, guard.TTL(3*time.Second))
			ctx, cancel := context.WithCancel(t.Context())
			var blocked sync.WaitGroup
			defer blocked.Wait()
			defer cancel()
			noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
				for range 4 {
					blocked.Go(func() {
						for ctx.Err() == nil {
							program.BLPop(ctx, 2*time.Second, "nothing")
						}
					})
				}
				select {
				case <-time.After(7 * time.Second):
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}))
			inTime(t, 1500*time.Millisecond, "Do of another key", func() { noError(t, g.Do(ctx, "other", nothing)) })
		})
	}
}

// A request that lies in some buffer while the second one is answered takes effect
// after the release.
func TestRedisBuriedAcquireBesideAnAnsweredOneLeavesNoZombie(t *testing.T) {
	t.Parallel()
	var subtests redistest.AtOnce
	defer subtests.Wait()
	for name, opts := range map[string][]guard.Option{"exclusive": nil, "limit": {guard.Limit(2)}, "shared": {guard.Shared()}} {
		subtests.Run(t, name, func(t *testing.T) {
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server.Addr())
			admin := server.Client(t)
			g := onRedis(t, proxy.Addr(), append(opts, guard.TTL(time.Minute))...)
			noError(t, g.Do(t.Context(), "warm", nothing))
			// The clean-up may be too quick for a look at the key.
			noError(t, admin.ConfigSet(t.Context(), "notify-keyspace-events", "KA").Err())
			granted := admin.Subscribe(t.Context(), "__keyspace@0__:guard:k")
			defer granted.Close()
			grants := granted.Channel()
			sawGrant := func() bool {
				for {
					select {
					case m := <-grants:
						if m.Payload == "set" {
							return true
						}
					case <-time.After(300 * time.Millisecond):
						return false
					}
				}
			}
			for range 20 {
				// The first is the caller's own, which is given up; the second stays under way,
				// unless the machine is so busy that it is something else.
				first := proxy.HoldNextRequest("evalsha", "guard:k")
				second := proxy.HoldNextRequest("evalsha", "guard:k")
				noError(t, g.Do(t.Context(), "k", nothing))
				first.Wait(t)
				second.Wait(t)
				for sawGrant() { // to the caller
				}
				second.Release()
				staged := sawGrant()
				eventually(t, "the key to be free", func() bool {
					return admin.Exists(t.Context(), "guard:k").Val() == 0
				})
				if staged {
					return
				}
			}
			t.Error("never staged: nothing is shown")
		})
	}
}

func TestRedisReleaseWhoseReplyIsSilentIsASuccess(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewProxy(t, redistest.Start(t).Addr())
	seen := &recorder{}
	g := onRedis(t, proxy.Addr(), guard.Observe(seen))
	noError(t, g.Do(t.Context(), "warm", nothing))
	for range 3 {
		var trap *redistest.Trap
		err := g.Do(t.Context(), "k", func(context.Context) error {
			trap = proxy.HoldNextReply("evalsha", "guard:k") // the release takes effect
			return nil
		})
		noError(t, err)
		trap.Wait(t)
		trap.Release()
	}
	if seen.saw(guard.EventLost) || seen.saw(guard.EventReleaseFailed) {
		t.Error("the observer was told of a loss or a failure")
	}
}

// A new connection cannot be made, and the answer over the old one takes long.
func TestRedisLateReplyIsGoodNews(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewProxy(t, redistest.Start(t).Addr())
	var closed atomic.Bool
	over := make(chan struct{})
	defer close(over)
	dialler := redistest.DialVia()
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if closed.Load() {
			<-over
			return nil, net.ErrClosed
		}
		return dialler(ctx, network, addr)
	}})
	g := onClient(t, client, nil, guard.TTL(10*time.Second))
	pooled(t, client, "nothing", 4)
	noError(t, g.Do(t.Context(), "warm", nothing))
	closed.Store(true)
	proxy.Delay(350 * time.Millisecond)
	inTime(t, 4*time.Second, "Do", func() { noError(t, g.Do(t.Context(), "k", nothing)) })
}

func TestRedisDoAllReturnsWithinOneReleaseTimeInABlackhole(t *testing.T) {
	t.Parallel()
	keys := []string{"a", "b", "c", "d", "e", "f", "z"}
	const oneRelease = 2 * time.Second
	for name, way := range map[string]bool{"after its deadline": true, "after fn": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server.Addr())
			g, rival := onRedis(t, proxy.Addr()), onRedis(t, server.Addr())
			if !way {
				var end time.Time
				noError(t, g.DoAll(t.Context(), keys, func(context.Context) error {
					proxy.Blackhole(redistest.Both)
					end = time.Now()
					return nil
				}))
				late(t, end, oneRelease)
				proxy.Heal()
				return
			}
			noError(t, rival.Do(t.Context(), "z", func(context.Context) error {
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				time.AfterFunc(300*time.Millisecond, func() { proxy.Blackhole(redistest.Both) })
				wantError(t, g.DoAll(ctx, keys, nothing), context.DeadlineExceeded)
				deadline, _ := ctx.Deadline()
				late(t, deadline, oneRelease)
				proxy.Heal()
				return nil
			}))
		})
	}
}

// late fails the test if it is later than limit after then, and a busy machine's due.
func late(t *testing.T, then time.Time, limit time.Duration) {
	t.Helper()
	if d := time.Since(then); d > limit+time.Second {
		t.Errorf("late by %v, more than %v", d.Round(time.Millisecond), limit)
	}
}

// The holder's connections break while fn runs, and its release is lost.
func TestRedisMinHoldOutlastsAHolderThatDies(t *testing.T) {
	t.Parallel()
	const ttl, minHold = 500 * time.Millisecond, 4 * time.Second
	modes := map[string][]guard.Option{"exclusive": nil, "limit": {guard.Limit(1)}, "shared": {guard.Shared()}}
	var subtests redistest.AtOnce
	defer subtests.Wait()
	for name, mode := range modes {
		for _, held := range []time.Duration{0, 900 * time.Millisecond} { // renewed meanwhile, or not
			subtests.Run(t, fmt.Sprint(name, " dies after ", held), func(t *testing.T) {
				server := redistest.Start(t)
				proxy := redistest.NewProxy(t, server.Addr())
				terms := append(slices.Clone(mode), guard.TTL(ttl), guard.MinHold(minHold))
				g, rival := onRedis(t, proxy.Addr(), terms...), onRedis(t, server.Addr(), guard.TTL(5*time.Second))
				var asked, began time.Time                             // the server counts from between the two
				for tries := 0; began.IsZero() && tries < 5; tries++ { // on a busy machine the first may be refused: it was not answered in time
					asked = time.Now()
					err := g.Do(t.Context(), "k", func(context.Context) error {
						began = time.Now()
						time.Sleep(held)
						proxy.Lose(redistest.Both)
						return nil
					})
					if began.IsZero() {
						t.Log(err)
					}
				}
				noError(t, rival.Do(t.Context(), "k", func(context.Context) error {
					if d := time.Since(asked); d < minHold {
						t.Errorf("the next began after %v, want %v", d, minHold)
					}
					if d := time.Since(began); d > minHold+2*time.Second {
						t.Errorf("the next began after %v, want %v", d, minHold)
					}
					return nil
				}))
				proxy.Heal()
			})
		}
	}
}
