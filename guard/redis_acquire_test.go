package guard_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestRedisBuriedShorterAcquireDoesNotShortenTheLease(t *testing.T) {
	s := redistest.Start(t)
	admin := s.Client(t)
	p := redistest.NewProxy(t, s.Addr())
	// The client gives up after 500 ms. The request stays welcome for 2 s.
	client := redis.NewClient(&redis.Options{Addr: p.Addr(), ReadTimeout: 500 * time.Millisecond})
	long := onClient(t, client, nil, guard.TTL(20*time.Second))
	short := long.With(guard.TTL(3 * time.Second))
	must(t, long.Do(t.Context(), "warm-up", nothing))
	sent(t, admin.Set(t.Context(), "guard:k", "another program", 0))

	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { gone <- short.Do(ctx, "k", nothing) }()
	owner := ""
	for owner == "" { // it is in the queue
		for _, member := range admin.ZRange(t.Context(), queueOf(t, admin), 0, 0).Val() {
			_, owner, _ = strings.Cut(member, ";")
		}
		time.Sleep(time.Millisecond)
	}
	buried := p.HoldNextRequest("evalsha", "guard:k") // its next poll
	alone := guard.Left(long)
	running, end := make(chan context.Context, 1), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- long.Do(context.Background(), "k", func(ctx context.Context) error {
			running <- ctx
			<-end
			return ctx.Err()
		})
	}()
	for guard.Left(long) == alone { // it has come
		time.Sleep(time.Millisecond)
	}
	buried.Wait(t)
	sent(t, admin.Del(t.Context(), "guard:k"))
	cancel()
	wantError(t, <-gone, context.Canceled)

	run := <-running
	if got := admin.Get(t.Context(), "guard:k").Val(); got != owner {
		t.Fatalf("the key is held by %q and not, as meant here, by %q, whose request is buried", got, owner)
	}
	before := scriptsRun(t, admin)
	buried.Release()
	for scriptsRun(t, admin) == before { // until it was executed
		time.Sleep(time.Millisecond)
	}
	if left := admin.PTTL(t.Context(), "guard:k").Val(); left < 15*time.Second {
		t.Errorf("a request with a TTL of 3s cut a lease of 20s to %v", left)
	}
	if !guard.Holding(run, "k") {
		t.Error("the run lost its lease")
	}
	close(end)
	noError(t, <-done)
}

// scriptsRun returns the server's statistics of calls of scripts.
func scriptsRun(t *testing.T, admin *redis.Client) string {
	t.Helper()
	info := admin.Info(t.Context(), "commandstats")
	sent(t, info)
	for line := range strings.Lines(info.Val()) {
		if calls, ok := strings.CutPrefix(line, "cmdstat_evalsha:calls="); ok {
			calls, _, _ = strings.Cut(calls, ",")
			return calls
		}
	}
	return ""
}

func goexit(context.Context) error {
	runtime.Goexit()
	return nil
}

func TestRedisReplyLostAtAcquireIsRecognised(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	g := onRedis(t, p.Addr())
	must(t, g.Do(t.Context(), "k", nothing))
	for range 10 {
		p.LoseNextReply("fence:")
		inTime(t, 2*time.Second, "acquiring again", func() {
			noError(t, g.Do(t.Context(), "k", nothing))
		})
	}
}

func TestRedisReplyLostAtAcquireIsCleanedUp(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	g, other := onRedis(t, p.Addr()), onRedis(t, s.Addr())
	must(t, g.Do(t.Context(), "k", nothing))
	for i := range 5 {
		key := fmt.Sprint("key", i)
		// Executed, never heard of; nor is the second attempt, for which there is time
		// if the end of the context comes late, or else the first clean-up.
		first, second := p.HoldNextReply(key), p.HoldNextReply(key)
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
		err := g.Do(ctx, key, nothing)
		cancel()
		wantError(t, err, context.DeadlineExceeded)
		// At once, as a rule. The attempt that was broken off may run after the
		// first clean-up; the second comes when the server refuses it, after 2 s.
		inTime(t, 3*time.Second, "the clean-up", func() {
			noError(t, other.Do(t.Context(), key, nothing))
		})
		first.Release()
		second.Release()
	}
}

func TestRedisRefusalsAndOutagesAreUnavailableAndHeal(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	admin := s.Client(t, func(o *redis.Options) { o.MaxRetries = -1 })
	g := onRedis(t, p.Addr(), guard.Wait(time.Second))
	do := func(t *testing.T, args ...any) { t.Helper(); sent(t, admin.Do(t.Context(), args...)) }
	must(t, g.Do(t.Context(), "k", nothing))
	counter := admin.Keys(t.Context(), "guard:fence:*").Val()[0]
	for _, c := range []struct {
		name       string
		harm, heal func(*testing.T)
		cause      string
		atOnce     bool
	}{
		{
			name:  "OOM",
			harm:  func(t *testing.T) { do(t, "config", "set", "maxmemory", "1") },
			heal:  func(t *testing.T) { do(t, "config", "set", "maxmemory", "0") },
			cause: "OOM", atOnce: true,
		},
		{
			name:  "NOPERM",
			harm:  func(t *testing.T) { do(t, "acl", "setuser", "default", "resetkeys", "~elsewhere:*") },
			heal:  func(t *testing.T) { do(t, "acl", "setuser", "default", "allkeys") },
			cause: "NOPERM", atOnce: true,
		},
		{
			name:  "WRONGTYPE",
			harm:  func(t *testing.T) { do(t, "del", counter); do(t, "lpush", counter, "x") },
			heal:  func(t *testing.T) { do(t, "del", counter) },
			cause: "WRONGTYPE", atOnce: true,
		},
		{
			name:  "READONLY",
			harm:  func(t *testing.T) { do(t, "replicaof", "127.0.0.1", "1") },
			heal:  func(t *testing.T) { do(t, "replicaof", "no", "one") },
			cause: "READONLY",
		},
		{
			name:  "LOADING",
			harm:  func(*testing.T) { p.AnswerErr("LOADING Redis is loading the dataset in memory") },
			heal:  func(*testing.T) { p.Heal() },
			cause: "LOADING",
		},
		{
			name: "cut off",
			harm: func(*testing.T) { p.Cut() },
			heal: func(*testing.T) { p.Heal() },
		},
		{
			name: "silent",
			harm: func(*testing.T) { p.Blackhole(redistest.Both) },
			heal: func(*testing.T) { p.Heal() },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			// What the case before left behind may have to be cleaned up.
			must(t, g.With(guard.Wait(10*time.Second)).Do(t.Context(), "k", nothing))
			c.harm(t)
			start := time.Now()
			err := g.Do(t.Context(), "k", nothing)
			took := time.Since(start)
			var e *guard.Error
			if !errors.Is(err, guard.ErrUnavailable) || !errors.As(err, &e) || e.Err == nil {
				t.Errorf("Do() = %v, want ErrUnavailable with a cause", err)
			}
			if err != nil && !strings.Contains(err.Error(), c.cause) {
				t.Errorf("Do() = %q does not tell %s", err, c.cause)
			}
			if c.atOnce && took > 750*time.Millisecond || took > 3*time.Second {
				t.Errorf("took %v", took)
			}
			c.heal(t)
			inTime(t, 5*time.Second, "healing", func() {
				if err := g.With(guard.Wait(5*time.Second)).Do(t.Context(), "k", nothing); err != nil {
					t.Errorf("after healing: %v", err)
				}
			})
		})
	}
}

func TestRedisSlowLineAndAStallOfASecondStillAcquire(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	g := onRedis(t, p.Addr(), guard.TTL(3*time.Second))
	p.Delay(50 * time.Millisecond) // a round trip of 100 ms
	for range 3 {
		noError(t, g.Do(t.Context(), "k", nothing))
	}
	p.Blackhole(redistest.Both)
	heal := time.AfterFunc(time.Second, p.Heal)
	defer heal.Stop()
	inTime(t, 3*time.Second, "acquiring over the stall", func() {
		noError(t, g.Do(t.Context(), "k", nothing))
	})
}

func TestRedisBuriedAcquireLeavesNoZombie(t *testing.T) {
	s := redistest.Start(t)
	other := onRedis(t, s.Addr())
	g := onRedis(t, s.Addr())
	for range 20 {
		must(t, g.Do(t.Context(), "k", nothing))
		s.Pause() // what is sent now is executed, in some order, after Resume
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
		err := g.Do(ctx, "k", nothing)
		cancel()
		wantError(t, err, context.DeadlineExceeded)
		s.Resume()
		inTime(t, 3*time.Second, "the clean-up", func() {
			noError(t, other.Do(t.Context(), "k", nothing))
		})
	}
}

func TestRedisSurvivorOfAHundredCancelledWaitersGetsTheKeyAtOnce(t *testing.T) {
	s := redistest.Start(t)
	guards := make([]*guard.Guard, 10)
	for i := range guards {
		guards[i] = onRedis(t, s.Addr())
	}
	for range 5 {
		end, _ := hold(t, onRedis(t, s.Addr()), "k")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if err := guards[i%10].Do(ctx, "k", nothing); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		in := make(chan time.Time, 1)
		wg.Go(func() {
			err := guards[3].Do(t.Context(), "k", func(context.Context) error { in <- time.Now(); return nil })
			noError(t, err)
		})
		time.Sleep(300 * time.Millisecond) // until they are in the queue
		released := time.Now()
		go cancel()
		go end()
		if d := (<-in).Sub(released); d > 750*time.Millisecond {
			t.Errorf("the survivor waited %v on a free key", d)
		}
		wg.Wait()
	}
}

func TestRedisNewcomerDoesNotBargeOnAFreeKeyWithALine(t *testing.T) {
	s := redistest.Start(t)
	admin := s.Client(t)
	holder, waiter, newcomer := onRedis(t, s.Addr()), onRedis(t, s.Addr()), onRedis(t, s.Addr())
	for range 10 {
		end, _ := hold(t, holder, "k")
		in := make(chan error, 1)
		go func() {
			in <- waiter.Do(context.Background(), "k", func(context.Context) error {
				time.Sleep(300 * time.Millisecond) // still in when the newcomer asks
				return nil
			})
		}()
		for admin.ZCard(t.Context(), queueOf(t, admin)).Val() == 0 {
			time.Sleep(time.Millisecond)
		}
		sent(t, admin.Del(t.Context(), "guard:k")) // free, with a waiter
		err := newcomer.With(guard.Wait(0)).Do(t.Context(), "k", nothing)
		if !errors.Is(err, guard.ErrBusy) && err != nil {
			t.Error(err)
		}
		select {
		case err := <-in:
			noError(t, err)
		case <-time.After(800 * time.Millisecond):
			t.Error("the newcomer's look did not wake the head of the queue")
			<-in
		}
		if err == nil {
			t.Error("the newcomer barged in")
		}
		end()
	}
}

// queueOf returns the name of the only queue there is, or of none.
func queueOf(t *testing.T, admin *redis.Client) string {
	t.Helper()
	for _, k := range admin.Keys(t.Context(), "guard:q:*").Val() {
		return k
	}
	return "guard:no-queue-yet"
}

func TestRedisForeignLockExcludesAndIsExcluded(t *testing.T) {
	s := redistest.Start(t)
	admin := s.Client(t)
	g := onClient(t, redis.NewClient(&redis.Options{Addr: s.Addr()}), []redisstore.Option{redisstore.Prefix("")})
	if !admin.SetNX(t.Context(), "k", "another program", 700*time.Millisecond).Val() {
		t.Fatal("SET NX PX failed")
	}
	err := g.With(guard.Wait(0)).Do(t.Context(), "k", nothing)
	var e *guard.Error
	if !errors.Is(err, guard.ErrBusy) || !errors.As(err, &e) || e.Holder != "another program" {
		t.Errorf("Do() = %v, want ErrBusy that names the holder", err)
	}
	start := time.Now()
	err = g.Do(t.Context(), "k", func(ctx context.Context) error {
		if time.Since(start) < 500*time.Millisecond {
			t.Error("runs while a foreign lock holds the key")
		}
		if admin.SetNX(ctx, "k", "another program", time.Minute).Val() {
			t.Error("the foreign program got in")
		}
		return ctx.Err()
	})
	noError(t, err)
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("waited %v for a lock of 700ms", d)
	}
}

func TestRedisForeignTextThatLooksLikeAMarkerIsLeftAlone(t *testing.T) {
	s := redistest.Start(t)
	admin := s.Client(t)
	g := onRedis(t, s.Addr())
	for _, text := range []string{"shared|token-of-another-program", "limited|token|of another program", "closed|me|"} {
		for name, mode := range map[string][]guard.Option{
			"Shared": {guard.Shared()}, "Limit": {guard.Limit(3)}, "exclusive": nil,
		} {
			for _, wait := range []time.Duration{0, 100 * time.Millisecond} { // without and with a place in the queue
				sent(t, admin.Set(t.Context(), "guard:k", text, 20*time.Second))
				err := g.With(mode...).With(guard.Wait(wait)).Do(t.Context(), "k", func(context.Context) error {
					t.Errorf("%s ran with %q; the key is %q now", name, text, admin.Get(t.Context(), "guard:k").Val())
					return nil
				})
				wantError(t, err, guard.ErrBusy)
				for guard.Left(g) > 0 { // it has left the queue
					time.Sleep(time.Millisecond)
				}
				got, left := admin.Get(t.Context(), "guard:k").Val(), admin.PTTL(t.Context(), "guard:k").Val()
				if got != text || left < 10*time.Second {
					t.Errorf("after %s: %q for %v, want %q untouched", name, got, left, text)
				}
			}
		}
	}
}

func TestRedisAcquireThatArrivesAfterItsCleanUpIsRefused(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	g, other := onRedis(t, p.Addr()), onRedis(t, s.Addr())
	for range 3 {
		must(t, g.Do(t.Context(), "k", nothing))
		request := p.HoldNextRequest("fence:")
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
		err := g.Do(ctx, "k", nothing)
		cancel()
		// nil: the end of the context came late, and there was time for a second attempt.
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do() = %v, want the end of its context", err)
		}
		request.Wait(t)
		time.Sleep(2200 * time.Millisecond) // an attempt takes 2 s at most: both clean-ups are over
		request.Release()
		time.Sleep(50 * time.Millisecond) // it has arrived
		if err := other.With(guard.Wait(0)).Do(t.Context(), "k", nothing); err != nil {
			t.Errorf("Do() = %v: a zombie holds the key", err)
		}
	}
}
