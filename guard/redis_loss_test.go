package guard_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestRedisNextRenewalNoticesAKeyThatWasHarmed(t *testing.T) {
	t.Parallel()
	const ttl = 6 * time.Second // it renews after 2
	s := redistest.Start(t)
	for name, harm := range map[string]func(context.Context, *redis.Client) redis.Cmder{
		"deleted": func(ctx context.Context, c *redis.Client) redis.Cmder { return c.Del(ctx, "guard:k") },
		"flushed": func(ctx context.Context, c *redis.Client) redis.Cmder { return c.FlushAll(ctx) },
		"stolen":  func(ctx context.Context, c *redis.Client) redis.Cmder { return c.Set(ctx, "guard:k", "thief", 0) },
		"cut short": func(ctx context.Context, c *redis.Client) redis.Cmder {
			return c.PExpire(ctx, "guard:k", 10*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			admin := s.Client(t)
			g := onRedis(t, s.Addr(), guard.TTL(ttl))
			var cause error
			err := g.Do(t.Context(), "k", func(ctx context.Context) error {
				sent(t, harm(ctx, admin))
				inTime(t, ttl*6/10, "noticing", func() { cause = lost(ctx) })
				return nil
			})
			if !errors.Is(err, guard.ErrLost) || !errors.Is(cause, guard.ErrLost) {
				t.Errorf("Do() = %v, cause %v, want ErrLost", err, cause)
			}
			if v := admin.Get(t.Context(), "guard:k").Val(); name == "stolen" && v != "thief" {
				t.Errorf("the thief's key is %q now", v)
			}
			sent(t, admin.Del(t.Context(), "guard:k"))
		})
	}
}

func TestRedisBlackholeBeforeARenewalEndsCtxBeforeARivalGetsIn(t *testing.T) {
	t.Parallel()
	const trials, abreast = 50, 25
	s := redistest.Start(t)
	gaps := make(chan time.Duration, trials)
	// A process that has no turn for as long as Margin cannot end a context in time.
	// Such a trial shows nothing, and is repeated with more time.
	trial := func(t *testing.T, key string, ttl time.Duration) (shown bool) {
		margin := ttl / 10
		renewing := ttl / 3 * 9 / 10 // the earliest moment of the first renewal
		stall := stalls(t)
		p := redistest.NewProxy(t, s.Addr())
		holder := onRedis(t, p.Addr(), guard.TTL(ttl))
		rival := onRedis(t, s.Addr(), guard.TTL(ttl))
		noError(t, holder.Do(t.Context(), "warm-up", nothing))
		held, refused := make(chan context.Context, 1), make(chan error, 1)
		ended := make(chan time.Time, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			err := holder.Do(context.Background(), key, func(ctx context.Context) error {
				held <- ctx
				time.Sleep(renewing - 20*time.Millisecond)
				p.Blackhole(redistest.Both)
				<-ctx.Done()
				ended <- time.Now()
				return nil
			})
			if errors.Is(err, guard.ErrUnavailable) {
				refused <- err
				return
			}
			wantError(t, err, guard.ErrLost)
		})
		var ctx context.Context
		select {
		case ctx = <-held:
		case err := <-refused:
			t.Logf("not held: %v", err) // the machine stood still for the TTL
			return false
		}
		noError(t, rival.Do(t.Context(), key, func(context.Context) error {
			in := time.Now()
			shown = stall() < margin/2
			select {
			case <-ctx.Done():
				if gap := in.Sub(<-ended); shown {
					gaps <- gap
				}
			default:
				if err := ctx.Err(); err == nil { // it compares the clocks
					t.Error("the rival is in while the holder's ctx is alive")
				} else if shown {
					t.Log("the timer had no turn for as long as Margin")
					shown = false
				}
			}
			return nil
		}))
		p.Heal()
		wg.Wait()
		return shown
	}
	t.Run("trials", func(t *testing.T) {
		next := make(chan int, trials)
		for i := range trials {
			next <- i
		}
		close(next)
		var wg sync.WaitGroup
		for range abreast {
			wg.Go(func() {
				for i := range next {
					key := guard.Key("k", time.Duration(i).String())
					for ttl := 2 * time.Second; !trial(t, key, ttl); ttl += time.Second {
						if ttl > 10*time.Second {
							t.Error("this machine stalls in every trial")
							return
						}
					}
				}
			})
		}
		wg.Wait()
	})
	close(gaps)
	smallest := time.Hour
	for gap := range gaps {
		smallest = min(smallest, gap)
	}
	t.Logf("%d trials: ctx ended at least %v before the rival got in", trials, smallest)
	if smallest <= 0 {
		t.Errorf("smallest gap %v", smallest)
	}
}

func TestRedisTwoFailedRenewalsLoseNothing(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	twice := func(t *testing.T, trap func(...string) *redistest.Trap) {
		first, second := trap("evalsha"), trap("evalsha")
		first.Wait(t)
		second.Wait(t)
	}
	var subtests redistest.AtOnce
	defer subtests.Wait()
	for name, harm := range map[string]func(*testing.T, *redistest.Proxy){
		"replies lost":  func(t *testing.T, p *redistest.Proxy) { twice(t, p.LoseNextReply) },
		"requests lost": func(t *testing.T, p *redistest.Proxy) { twice(t, p.LoseNextRequest) },
		"error replies": func(_ *testing.T, p *redistest.Proxy) {
			p.AnswerErr("LOADING Redis is loading the dataset in memory", "evalsha")
			time.Sleep(1500 * time.Millisecond) // the first renewals, at 0.9 to 1 s, fail
			p.Heal()
		},
	} {
		subtests.Run(t, name, func(t *testing.T) {
			p := redistest.NewProxy(t, s.Addr())
			g := onRedis(t, p.Addr(), guard.TTL(3*time.Second))
			must(t, g.Do(t.Context(), "warm-up", nothing))
			noError(t, g.Do(t.Context(), name, func(ctx context.Context) error {
				harm(t, p)
				time.Sleep(4 * time.Second) // past what the last one before the faults proved
				return ctx.Err()
			}))
		})
	}
}

func TestRedisScriptFlushWhileHeldLosesNothing(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	admin := s.Client(t)
	g, other := onRedis(t, s.Addr(), guard.TTL(2*time.Second)), onRedis(t, s.Addr())
	noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
		for range 4 {
			sent(t, admin.ScriptFlush(t.Context()))
			time.Sleep(700 * time.Millisecond) // a renewal or two
		}
		if err := other.With(guard.Wait(0)).Do(ctx, "k", nothing); !errors.Is(err, guard.ErrBusy) && err != nil {
			t.Error(err)
		}
		sent(t, admin.ScriptFlush(t.Context()))
		return ctx.Err()
	}))
	if n := admin.Exists(t.Context(), "guard:k").Val(); n != 0 {
		t.Error("still held after the release")
	}
}

func TestRedisReleaseWhileARenewalIsInFlightDoesNotResurrect(t *testing.T) {
	s := redistest.Start(t)
	admin := s.Client(t)
	p := redistest.NewProxy(t, s.Addr())
	g := onRedis(t, p.Addr(), guard.TTL(3*time.Second))
	if err := g.Do(t.Context(), "k", func(ctx context.Context) error { return sleepUntil(ctx, 1500*time.Millisecond) }); err != nil {
		t.Fatal(err) // so that every script is loaded
	}
	var renewal *redistest.Trap
	noError(t, g.Do(t.Context(), "k", func(context.Context) error {
		renewal = p.HoldNextRequest("evalsha")
		renewal.Wait(t)
		return nil
	}))
	renewal.Deliver(t)
	if n := admin.Exists(t.Context(), "guard:k").Val(); n != 0 {
		t.Error("the renewal brought the released key back")
	}
}

// sleepUntil sleeps for d or until ctx ends, and returns ctx's error.
func sleepUntil(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return ctx.Err()
}

func TestRedisReleaseWhoseFirstReplyIsLostIsASuccess(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	g := onRedis(t, p.Addr())
	must(t, g.Do(t.Context(), "k", nothing))
	for range 10 {
		err := g.Do(t.Context(), "k", func(context.Context) error {
			p.LoseNextReply("evalsha")
			return nil
		})
		if err != nil {
			t.Errorf("Do() = %v", err)
		}
	}
}

func TestRedisCancelledCallerKeepsOthersOutUntilFnReturns(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a := onRedis(t, s.Addr(), guard.TTL(2*time.Second))
	b := onRedis(t, s.Addr(), guard.TTL(2*time.Second))
	ctx, cancel := context.WithCancel(t.Context())
	cancelled, result := make(chan struct{}), make(chan error, 1)
	var cleaned time.Time
	go func() {
		result <- a.Do(ctx, "k", func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			close(cancelled)
			time.Sleep(6 * time.Second) // three TTLs of cleaning up
			cleaned = time.Now()
			return nil
		})
	}()
	awaitRun(t, cancelled, result)
	noError(t, b.Do(t.Context(), "k", func(context.Context) error {
		if cleaned.IsZero() {
			t.Error("overlaps with the clean-up")
		}
		return nil
	}))
}

func TestRedisPanicAndGoexitPassTheKeyOn(t *testing.T) {
	s := redistest.Start(t)
	for name, fn := range map[string]func(context.Context) error{
		"panic":  func(context.Context) error { panic("boom") },
		"Goexit": func(context.Context) error { runtime.Goexit(); return nil },
	} {
		a, b := onRedis(t, s.Addr()), onRedis(t, s.Addr())
		running, ended, next := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			defer func() { _ = recover() }()
			_ = a.Do(context.Background(), name, func(ctx context.Context) error {
				close(running)
				time.Sleep(200 * time.Millisecond)
				defer close(ended)
				return fn(ctx)
			})
		}()
		arrives(t, "the run", running)
		go func() { next <- b.With(guard.Wait(20*time.Second)).Do(context.Background(), name, nothing) }()
		<-ended
		inTime(t, 5*time.Second, "passing on after "+name, func() { // half of the TTL
			if err := <-next; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}
