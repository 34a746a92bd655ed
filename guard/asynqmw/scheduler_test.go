package asynqmw_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/internal/redistest"
)

// every is a periodic task of type "tick".
func every(spec string, opts ...asynq.Option) asynqmw.Periodic {
	return asynqmw.Periodic{{Cronspec: spec, Task: asynq.NewTask("tick", nil), Opts: opts}}
}

// lead runs RunScheduler under the key "scheduler", on a goroutine that ends with stop
// or the test.
func (f *fleet) lead(t *testing.T, g *guard.Guard, tasks asynq.PeriodicTaskConfigProvider) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- asynqmw.RunScheduler(ctx, g, "scheduler", f.conn(), tasks) }()
	stopped := false
	stop = func() error {
		cancel()
		stopped = true
		return await(t, "the scheduler's end", over)
	}
	t.Cleanup(func() {
		if !stopped {
			_ = stop() // the test is over
		}
	})
	return stop
}

// ticks returns the ticks whose tasks were enqueued, in seconds since the first.
func (f *fleet) ticks(t *testing.T) (ticks []int64) {
	t.Helper()
	pending, err := f.inspector.ListPendingTasks("default", asynq.PageSize(1000))
	if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
		t.Fatal(err)
	}
	for _, task := range pending {
		var second int64
		if _, err := fmt.Sscan(task.ID[strings.LastIndex(task.ID, ":")+1:], &second); err != nil {
			t.Fatal(err)
		}
		ticks = append(ticks, second)
	}
	slices.Sort(ticks)
	for i := range ticks {
		ticks[len(ticks)-1-i] -= ticks[0]
	}
	return ticks
}

// wantTicks waits for n ticks and checks that they are period seconds apart.
func (f *fleet) wantTicks(t *testing.T, n int, period int64) {
	t.Helper()
	eventually(t, "ticks", func() bool { return len(f.ticks(t)) >= n })
	for i, tick := range f.ticks(t) {
		if tick != int64(i)*period {
			t.Fatalf("the ticks are %v, want one in %d seconds", f.ticks(t), period)
		}
	}
}

// No leader lasts as long as the interval.
func TestChangesOfTheLeaderLoseAndDoubleNoTick(t *testing.T) {
	t.Parallel()
	for spec, period := range map[string]int64{"@every 4s": 4, "@every 1s": 1} {
		t.Run(spec, func(t *testing.T) {
			f := newFleet(t)
			g := f.guard(t)
			for range 5 {
				stop := f.lead(t, g, every(spec))
				time.Sleep(3 * time.Second)
				if err := stop(); !errors.Is(err, context.Canceled) {
					t.Errorf("RunScheduler() = %v, want the end of its context", err)
				}
			}
			f.wantTicks(t, 2, period)
		})
	}
}

func TestOneOfTheFleetEnqueuesAndAnotherTakesOverWhenItIsCutOff(t *testing.T) {
	f := newFleet(t)
	var proxies [2]*redistest.Proxy
	for i := range proxies {
		proxies[i] = redistest.NewProxy(t, f.redis.Addr())
		f.lead(t, guardAt(t, proxies[i].Addr(), guard.TTL(2*time.Second)), every("@every 1s"))
		t.Cleanup(proxies[i].Heal)
		f.wantTicks(t, 2, 1) // the first leads
	}
	proxies[0].Cut()
	f.wantTicks(t, len(f.ticks(t))+4, 1)
	proxies[0].Heal()
	proxies[1].Cut() // and back again
	f.wantTicks(t, len(f.ticks(t))+4, 1)
}

// A leader that is killed releases nothing: its lease expires.
func TestAnotherTakesOverWithinTheTTLWhenTheLeadersProcessDies(t *testing.T) {
	const role = "JOBGUARD_TEST_LEADER" // the address of its Redis
	const ttl = 3 * time.Second
	if addr := os.Getenv(role); addr != "" {
		err := asynqmw.RunScheduler(t.Context(), guardAt(t, addr, guard.TTL(ttl)), "scheduler", asynq.RedisClientOpt{Addr: addr},
			provider(func() ([]*asynq.PeriodicTaskConfig, error) {
				fmt.Println("\nleading")
				return every("@every 1s"), nil
			}))
		t.Fatal("it ended: ", err)
	}
	f := newFleet(t)
	leader := startChild(t, role, f.redis.Addr(), "leading")
	f.lead(t, f.guard(t, guard.TTL(ttl)), every("@every 1s"))
	f.wantTicks(t, 2, 1)
	if err := leader.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	f.wantTicks(t, len(f.ticks(t))+6, 1)
}

// A leader claimed a tick and died. Whether it enqueued the task does not matter: asynq
// takes one with that TaskID.
func TestTickOfALeaderThatDiedInTheMiddleIsEnqueuedOnce(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]bool{"before": true, "after": false} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			g := f.guard(t)
			store, _ := g.Store().(lease.TickStore)
			stop := f.lead(t, g, every("@every 1s"))
			f.wantTicks(t, 2, 1)
			_ = stop() // the end of its context
			pending, err := f.inspector.ListPendingTasks("default")
			if err != nil {
				t.Fatal(err)
			}
			entry, _, _ := strings.Cut(pending[0].ID, ":")
			key := pending[0].ID[:strings.LastIndex(pending[0].ID, ":")]
			last, err := store.LastTick(t.Context(), key)
			if err != nil || entry != "scheduler" {
				t.Fatal(pending[0].ID, err)
			}
			at := last.At.Add(time.Second)
			if reply, err := store.ClaimTick(t.Context(), lease.TickRequest{
				Key: key, Owner: g.Store().NewOwner(""), At: at, MaxAhead: -1, Fence: last.Fence, Rerun: true,
			}); err != nil || !reply.Claimed {
				t.Fatal(reply, err)
			}
			if !before {
				f.enqueueTask(t, asynq.NewTask("tick", nil), asynq.TaskID(fmt.Sprintf("%s:%d", key, at.Unix())))
			}
			f.lead(t, g, every("@every 1s"))
			f.wantTicks(t, len(f.ticks(t))+3, 1)
		})
	}
}

// An error of asynq's Redis delays a tick; the options of a task hold.
func TestTickIsLateWhileAsynqsRedisIsGone(t *testing.T) {
	f := newFleet(t)
	proxy := redistest.NewProxy(t, f.redis.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	over := make(chan error, 1)
	go func() {
		over <- asynqmw.RunScheduler(ctx, f.guard(t), "scheduler", asynq.RedisClientOpt{Addr: proxy.Addr()}, every("@every 1s", asynq.MaxRetry(7)))
	}()
	f.wantTicks(t, 1, 1)
	proxy.Cut()
	time.Sleep(2500 * time.Millisecond)
	proxy.Heal()
	f.wantTicks(t, len(f.ticks(t))+5, 1)
	cancel()
	await(t, "the scheduler's end", over)
	if pending, err := f.inspector.ListPendingTasks("default"); err != nil || pending[0].MaxRetry != 7 {
		t.Errorf("%+v, %v; want 7 retries", pending, err)
	}
}

type provider func() ([]*asynq.PeriodicTaskConfig, error)

func (p provider) GetConfigs() ([]*asynq.PeriodicTaskConfig, error) { return p() }

// nowhere is a Redis that cannot be reached; nothing is enqueued here.
var nowhere = asynq.RedisClientOpt{Addr: "127.0.0.1:1"}

// inBubbleOf calls RunScheduler in a bubble, for d at most, and returns its error.
func inBubbleOf(t *testing.T, d time.Duration, key string, p provider, opts ...guard.Option) (store *guardtest.Store, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store = guardtest.NewStore()
		g, newErr := guard.New(store, opts...)
		if newErr != nil {
			t.Fatal(newErr)
		}
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		err = asynqmw.RunScheduler(ctx, g, key, nowhere, p)
		if err := g.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return store, err
}

func TestLeaderThatKnowsNoTasksStepsDownAndTriesAgainLaterAndLater(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string][]*asynq.PeriodicTaskConfig{
		"error": nil, "nil": {nil}, "no task": {{Cronspec: "@every 1s"}}, "spec": {{Cronspec: "soon", Task: asynq.NewTask("t", nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			var tries []time.Time
			_, err := inBubbleOf(t, 5*time.Minute, "k", func() ([]*asynq.PeriodicTaskConfig, error) {
				if tries = append(tries, time.Now()); bad == nil {
					return nil, errors.New("no configuration today")
				}
				return bad, nil
			})
			if !errors.Is(err, context.DeadlineExceeded) || len(tries) < 6 || len(tries) > 20 {
				t.Fatalf("RunScheduler() = %v after %d tries, want the end of its context after 6 to 20", err, len(tries))
			}
			if first, last := tries[1].Sub(tries[0]), tries[len(tries)-1].Sub(tries[len(tries)-2]); first > 2*time.Second || last < 30*time.Second || last > time.Minute {
				t.Errorf("the first pause was %v, the last %v", first, last)
			}
		})
	}
}

func TestTasksAreAskedForOnceAMinuteAndKeptIfThatFails(t *testing.T) {
	t.Parallel()
	asked := 0
	_, err := inBubbleOf(t, 5*time.Minute+time.Second, "k", func() ([]*asynq.PeriodicTaskConfig, error) {
		if asked++; asked > 1 {
			return nil, errors.New("no configuration today")
		}
		return every("@every 24h"), nil
	})
	if !errors.Is(err, context.DeadlineExceeded) || asked != 6 {
		t.Errorf("RunScheduler() = %v after %d calls, want the end of its context after 6", err, asked)
	}
}

func TestSchedulerThatCannotWorkIsAnError(t *testing.T) {
	t.Parallel()
	none := func() ([]*asynq.PeriodicTaskConfig, error) { return nil, nil }
	for name, opt := range map[string]guard.Option{"limit": guard.Limit(2), "shared": guard.Shared()} {
		if _, err := inBubbleOf(t, time.Minute, "k", none, opt); err == nil || !strings.Contains(err.Error(), "Limit") {
			t.Errorf("%s: RunScheduler() = %v, want a word on the Limit", name, err)
		}
	}
	if _, err := inBubbleOf(t, time.Minute, "", none); !errors.Is(err, guard.ErrInvalidKey) {
		t.Errorf("RunScheduler() = %v, want ErrInvalidKey", err)
	}
	g, err := guard.New(struct{ lease.Store }{guardtest.NewStore()})
	if err != nil {
		t.Fatal(err)
	}
	if err := asynqmw.RunScheduler(t.Context(), g, "k", nowhere, provider(none)); err == nil || !strings.Contains(err.Error(), "TickStore") {
		t.Errorf("RunScheduler() = %v, want a word on the store", err)
	}
}

// The key is free at once: no other process waits for the TTL.
func TestPanicOfAProviderPassesThroughAndFreesTheKey(t *testing.T) {
	t.Parallel()
	var store *guardtest.Store
	synctest.Test(t, func(t *testing.T) {
		store = guardtest.NewStore()
		g, err := guard.New(store, guard.TTL(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if p := recover(); p != "a bug" {
					t.Errorf("recovered %v, want the panic of the function", p)
				}
			}()
			_ = asynqmw.RunScheduler(t.Context(), g, "k", nowhere, provider(func() ([]*asynq.PeriodicTaskConfig, error) { panic("a bug") }))
		}()
		if owner, held := store.Holder("k"); held {
			t.Errorf("the key is held by %q", owner)
		}
		if err := g.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
