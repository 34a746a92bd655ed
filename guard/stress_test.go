package guard_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// stressEnv is how long the stress test runs; `make stress` sets two minutes.
const stressEnv = "JOBGUARD_STRESS"

const stressTTL = 600 * time.Millisecond

var stressKeys = []string{"s:0", "s:1", "s:2", "s:3"}

// TestRedisContentionLeavesNothing has many goroutines in several processes
// fight for a few keys, in all modes, while some are cancelled, killed and
// paused and keys expire under their holders. Exclusive runs stay alone, the
// resource never accepts a lower token after a higher one, no caller hangs, and at
// the end no key, queue, goroutine or map entry is left.
func TestRedisContentionLeavesNothing(t *testing.T) {
	length := 3 * time.Second
	if s := os.Getenv(stressEnv); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	server := redistest.Start(t)
	admin := server.Client(t)
	worst := stalls(t)
	f := &fight{t: t, until: time.Now().Add(length), keys: make(map[string]*contested)}
	for _, k := range stressKeys {
		f.keys[k] = &contested{}
	}
	var guards []*guard.Guard
	var clients []*redis.Client
	for i := range 4 {
		c := redis.NewClient(&redis.Options{Addr: server.Addr()})
		clients = append(clients, c)
		opts := []guard.Option{guard.TTL(stressTTL)}
		if i%2 == 1 {
			opts = append(opts, guard.AsyncRelease())
		}
		guards = append(guards, newGuard(t, redisstore.New(c), opts...))
	}
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() { f.runs(guards[i%len(guards)], uint64(i)) })
	}
	wg.Go(func() { f.harm(admin) })
	wg.Go(func() { f.killAndPause(server.Addr()) })
	wg.Wait()
	if stalled, n := worst(), f.unavailable.Load(); n > 0 && stalled < stressTTL/2 {
		t.Errorf("%d runs got no answer for the TTL; the process had no turn for %v at most", n, stalled)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for i, g := range guards {
		noError(t, g.Shutdown(ctx))
		if n := guard.Left(g); n != 0 {
			t.Errorf("guard %d keeps %d entries", i, n)
		}
		_ = clients[i].Close()
	}
	time.Sleep(stressTTL + 2500*time.Millisecond) // what the killed had, and claims, expire
	for _, k := range admin.Keys(t.Context(), "*").Val() {
		if !strings.HasPrefix(k, "guard:tokens:") {
			ttl := admin.PTTL(t.Context(), k).Val()
			ofTheDead := strings.HasPrefix(k, "guard:w:") || strings.HasPrefix(k, "guard:heard:")
			if ttl < 0 || !ofTheDead { // they vanish within a minute
				t.Errorf("%s is left, for %v", k, ttl)
			}
		}
	}
	t.Logf("%d runs, %d lost, %d refused by the resource, in %v", f.ran.Load(), f.lost.Load(), f.stale.Load(), length)
	if f.ran.Load() < 50 {
		t.Errorf("only %d runs: a caller hangs", f.ran.Load())
	}
}

// fight is what the goroutines of the stress test share.
type fight struct {
	t     *testing.T
	until time.Time
	keys  map[string]*contested

	ran, lost, stale, unavailable atomic.Int64
}

// contested is one key's resource and who is inside.
type contested struct {
	mu     sync.Mutex
	token  int64           // highest accepted
	inside context.Context // of the last exclusive run that went in
	harmed time.Time       // when its lease was last cut short from outside
}

func (f *fight) over() bool { return time.Now().After(f.until) }

func (f *fight) runs(g *guard.Guard, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for !f.over() {
		key := stressKeys[rng.IntN(len(stressKeys))]
		ctx, cancel := context.WithTimeout(f.t.Context(), time.Duration(rng.IntN(3000))*time.Millisecond)
		opts := []guard.Option{guard.Forever()}
		mode := rng.IntN(8)
		switch mode {
		case 0:
			opts = append(opts, guard.Shared())
		case 1:
			opts = append(opts, guard.Limit(2))
		case 2:
			opts = append(opts, guard.Wait(0))
		case 3:
			opts = append(opts, guard.TTL(2*stressTTL))
		}
		work := time.Duration(rng.IntN(8)) * time.Millisecond
		if rng.IntN(50) == 0 {
			work = stressTTL * 3 / 2
		}
		err := g.With(opts...).Do(ctx, key, func(ctx context.Context) error {
			f.ran.Add(1)
			return f.inside(ctx, key, mode, work)
		})
		cancel()
		switch {
		case err == nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, guard.ErrBusy), errors.Is(err, context.Canceled):
		case errors.Is(err, guard.ErrLost):
			f.lost.Add(1)
		case errors.Is(err, guard.ErrUnavailable):
			f.unavailable.Add(1)
		default:
			f.t.Errorf("Do(%s) = %v", key, err)
		}
	}
}

func (f *fight) inside(ctx context.Context, key string, mode int, work time.Duration) error {
	c := f.keys[key]
	token, exclusive := guard.Fence(ctx)
	c.mu.Lock()
	undisturbed := time.Since(c.harmed) > 3*stressTTL
	if other := c.inside; other != nil && other.Err() == nil && ctx.Err() == nil && undisturbed {
		f.t.Errorf("%s: mode %d together with an exclusive run", key, mode)
	}
	if exclusive {
		c.inside = ctx
		switch {
		case token > c.token:
			c.token = token
		case token == c.token:
			f.t.Errorf("%s: token %d twice", key, token)
		default:
			f.stale.Add(1)
			if ctx.Err() == nil && undisturbed {
				f.t.Errorf("%s: token %d is refused while its run is alive", key, token)
			}
		}
	}
	c.mu.Unlock()
	err := sleepUntil(ctx, work)
	c.mu.Lock()
	if c.inside == ctx {
		c.inside = nil
	}
	c.mu.Unlock()
	return err
}

// harm cuts leases short behind their holders' backs.
func (f *fight) harm(admin *redis.Client) {
	rng := rand.New(rand.NewPCG(7, 7))
	for !f.over() {
		time.Sleep(time.Duration(500+rng.IntN(1000)) * time.Millisecond)
		key := stressKeys[rng.IntN(2)] // the others are never touched
		f.keys[key].mu.Lock()
		f.keys[key].harmed = time.Now()
		f.keys[key].mu.Unlock()
		admin.PExpire(f.t.Context(), "guard:"+key, time.Millisecond)
	}
}

// killAndPause has child processes that hold and wait killed and paused.
func (f *fight) killAndPause(addr string) {
	rng := rand.New(rand.NewPCG(9, 9))
	for !f.over() {
		var children []*os.Process
		for i := range 2 {
			p, err := os.StartProcess(os.Args[0], os.Args[:1], &os.ProcAttr{
				Env:   append(os.Environ(), childEnv+"="+addr, churnEnv+"="+fmt.Sprint(i)),
				Files: []*os.File{nil, nil, os.Stderr},
			})
			if err != nil {
				f.t.Error(err)
				return
			}
			children = append(children, p)
		}
		time.Sleep(time.Duration(300+rng.IntN(700)) * time.Millisecond)
		redistest.Suspend(f.t, children[0])
		time.Sleep(stressTTL + 200*time.Millisecond)
		redistest.Resume(f.t, children[0])
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		for _, p := range children {
			_ = p.Kill()
			_, _ = p.Wait()
		}
	}
}

// churnEnv makes a child fight too, until it is killed.
const churnEnv = "JOBGUARD_TEST_CHURN"

func churn(addr string) {
	g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: addr})), guard.TTL(stressTTL))
	if err != nil {
		panic(err)
	}
	for i := range 4 {
		go func() {
			for {
				_ = g.Do(context.Background(), stressKeys[(i+rand.IntN(2))%len(stressKeys)], func(ctx context.Context) error {
					return sleepUntil(ctx, time.Duration(rand.IntN(20))*time.Millisecond)
				})
			}
		}()
	}
	select {}
}
