package guard_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestRedisReplyLostAtAcquireIsRecognised(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	g := onRedis(t, p.Addr())
	must(t, g.Do(t.Context(), "k", nothing))
	for range 10 {
		p.LoseNextReply("tokens:")
		inTime(t, 2*time.Second, "acquiring again", func() {
			noError(t, g.Do(t.Context(), "k", nothing))
		})
	}
}

func TestRedisReplyLostAtAcquireIsCleanedUp(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	g, other := onRedis(t, p.Addr()), onRedis(t, s.Addr())
	must(t, g.Do(t.Context(), "k", nothing))
	unheard := 0
	for i := range 5 {
		key := fmt.Sprint("key", i)
		// Executed, never heard of; nor is the second attempt, for which there is time
		// if the end of the context comes late, or else the first clean-up.
		first, second := p.HoldNextReply(key), p.HoldNextReply(key)
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
		err := g.Do(ctx, key, nothing)
		cancel()
		if err != nil { // nil: the context's end came so late that there was time for a third
			unheard++
			wantError(t, err, context.DeadlineExceeded)
		}
		// At once, as a rule. The attempt that was broken off may run after the
		// first clean-up; others follow until the server refuses it, after 2 s.
		inTime(t, 5*time.Second, "the clean-up", func() {
			noError(t, other.Do(t.Context(), key, nothing))
		})
		first.Release()
		second.Release()
	}
	if unheard == 0 {
		t.Error("each of five acquires was answered in time")
	}
}

func TestRedisRefusalsAndOutagesAreUnavailableAndHeal(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	admin := s.Client(t, func(o *redis.Options) { o.MaxRetries = -1 })
	g := onRedis(t, p.Addr(), guard.Wait(time.Second))
	do := func(t *testing.T, args ...any) { t.Helper(); sent(t, admin.Do(t.Context(), args...)) }
	must(t, g.Do(t.Context(), "k", nothing))
	counter := admin.Keys(t.Context(), "guard:tokens:*").Val()[0]
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
	t.Parallel()
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
	t.Parallel()
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
	fastest := time.Hour // the machine may be busy in the other rounds
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
		fastest = min(fastest, arrives(t, "the survivor", in).Sub(released))
		wg.Wait()
	}
	if fastest > 750*time.Millisecond {
		t.Errorf("the survivor waited %v on a free key", fastest)
	}
}

func TestRedisNewcomerDoesNotBargeOnAFreeKeyWithALine(t *testing.T) {
	s := redistest.Start(t)
	admin := s.Client(t)
	holder, waiter, newcomer := onRedis(t, s.Addr()), onRedis(t, s.Addr()), onRedis(t, s.Addr())
	const rounds = 10
	late := 0 // a stall of the machine delays a round or two
	for range rounds {
		end, _ := hold(t, holder, "k")
		in, began := make(chan error, 1), make(chan time.Time, 1)
		go func() {
			in <- waiter.Do(context.Background(), "k", func(context.Context) error {
				began <- time.Now()
				time.Sleep(300 * time.Millisecond) // still in when the newcomer asks
				return nil
			})
		}()
		eventually(t, "a place in the queue", func() bool { return admin.ZCard(t.Context(), queueOf(t, admin)).Val() > 0 })
		asked := time.Now()
		sent(t, admin.Del(t.Context(), "guard:k")) // free, with a waiter
		err := newcomer.With(guard.Wait(0)).Do(t.Context(), "k", nothing)
		if !errors.Is(err, guard.ErrBusy) && err != nil {
			t.Error(err)
		}
		if err == nil {
			t.Error("the newcomer barged in")
		}
		noError(t, arrives(t, "the waiter's result", in))
		if (<-began).Sub(asked) > 500*time.Millisecond {
			late++
		}
		end()
	}
	if late > rounds/3 {
		t.Errorf("in %d of %d rounds the newcomer's look did not wake the head of the queue", late, rounds)
	}
}

// queueOf returns the name of the only queue there is, or of none.
func queueOf(t *testing.T, admin *redis.Client) string {
	t.Helper()
	for _, k := range admin.Keys(t.Context(), "guard:w:*").Val() {
		return k
	}
	return "guard:no-queue-yet"
}

// A script is refused; a first try, which is plain commands, is granted for its TTL.
func TestRedisAcquireThatArrivesAfterItsCleanUpIsRefusedOrEnds(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	for _, contended := range []bool{true, false} {
		t.Run(fmt.Sprintf("contended=%t", contended), func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			p := redistest.NewProxy(t, s.Addr())
			g, other := onRedis(t, p.Addr(), guard.TTL(ttl)), onRedis(t, s.Addr(), guard.Wait(0))
			must(t, g.Do(t.Context(), "k", nothing))
			if contended {
				must(t, other.Do(t.Context(), "k", func(context.Context) error {
					return busy(g.With(guard.Wait(0)).Do(t.Context(), "k", nothing))
				}))
			}
			form := "nx"
			if contended {
				form = "evalsha"
			}
			request := p.HoldNextRequest(form, "guard:k")
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
			err := g.Do(ctx, "k", nothing)
			cancel()
			// nil: the end of the context came late, and there was time for a second attempt.
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Do() = %v, want the end of its context", err)
			}
			request.Wait(t)
			time.Sleep(2200 * time.Millisecond) // an attempt takes 2 s at most: both clean-ups are over
			request.Deliver(t)
			err = other.Do(t.Context(), "k", nothing)
			if contended {
				must(t, err)
				return
			}
			must(t, busy(err))
			time.Sleep(ttl)
			must(t, other.Do(t.Context(), "k", nothing))
		})
	}
}

// busy is nil if err is ErrBusy.
func busy(err error) error {
	if errors.Is(err, guard.ErrBusy) {
		return nil
	}
	return fmt.Errorf("%w, want ErrBusy", err)
}
