package asynqmw_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// nowhere returns a client of a Redis that cannot be reached: what the managers
// enqueue does not matter here.
func nowhere(t *testing.T) *redis.Client {
	noWay := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("there is no way") }
	// A number: a host name would be looked up, which a bubble does not allow.
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", Dialer: noWay})
	t.Cleanup(func() { _ = client.Close() }) // it never had a connection
	return client
}

// starting is a fleet of one, in a bubble, whose manager starts when fails allows it.
type starting struct {
	store *guardtest.Store
	fails func(try int) bool // whether a try to start does, counted from 1
	tries []time.Time
	made  int
	stop  context.CancelFunc
}

// run runs a PeriodicTaskManager until ctx ends, and returns what that returned.
func (s *starting) run(t *testing.T, ctx context.Context) error {
	t.Helper()
	ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	s.store = guardtest.NewStore()
	g, err := guard.New(s.store)
	if err != nil {
		t.Fatal(err)
	}
	client := nowhere(t)
	err = asynqmw.RunPeriodicTaskManager(ctx, g, "manager", func() (*asynq.PeriodicTaskManager, error) {
		s.made++
		return asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
			RedisUniversalClient: client, SchedulerOpts: &asynq.SchedulerOpts{LogLevel: asynq.FatalLevel},
			PeriodicTaskConfigProvider: provider(s.configs), SyncInterval: 24 * time.Hour,
		})
	})
	if err := g.Shutdown(context.WithoutCancel(ctx)); err != nil {
		t.Error(err)
	}
	return err
}

func (s *starting) configs() ([]*asynq.PeriodicTaskConfig, error) {
	s.tries = append(s.tries, time.Now())
	if len(s.tries) == 100 { // without a pause the bubble's time would not advance
		s.stop()
	}
	if s.fails(len(s.tries)) {
		return nil, errors.New("no configuration today")
	}
	return nil, nil
}

// wantPauses checks the time between a try and the next: want, and up to a fifth
// more.
func (s *starting) wantPauses(t *testing.T, want ...time.Duration) {
	t.Helper()
	if len(s.tries) <= len(want) {
		t.Fatalf("%d tries to start, want at least %d", len(s.tries), len(want)+1)
	}
	for i, pause := range want {
		if got := s.tries[i+1].Sub(s.tries[i]); got < pause || got > pause+pause/5 {
			t.Errorf("%v between the tries %d and %d, want %v and a little", got, i+1, i+2, pause)
		}
	}
}

func TestPausesOfAManagerThatCannotStartGrowToHalfAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := starting{fails: func(int) bool { return true }}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if err := s.run(t, ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("RunPeriodicTaskManager() = %v, want the end of its context", err)
		}
		s.wantPauses(t, time.Second, 2*time.Second, 4*time.Second, 8*time.Second, 16*time.Second, 30*time.Second, 30*time.Second)
		if s.made != 1 {
			t.Errorf("%d managers made, want the same one started again", s.made)
		}
	})
}

func TestManagerThatStartedCountsItsFailuresAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		s := starting{fails: func(try int) bool { return try != 4 }}
		time.AfterFunc(time.Minute, func() { s.store.Expire("manager") }) // a new term, of a new manager
		_ = s.run(t, ctx)                                                 // the end of ctx, as above
		s.wantPauses(t, time.Second, 2*time.Second, 4*time.Second)
		s.tries = s.tries[4:]
		s.wantPauses(t, time.Second, 2*time.Second)
		if s.made != 2 {
			t.Errorf("%d managers made, want one for each term", s.made)
		}
	})
}

func TestPauseAfterAManagerThatCannotStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		leaving := errors.New("leaving")
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		s := starting{fails: func(int) bool { return true }}
		began := time.Now()
		time.AfterFunc(500*time.Millisecond, func() { cancel(leaving) }) // in the first pause
		err := s.run(t, ctx)
		if d := time.Since(began); err != leaving || d != 500*time.Millisecond || len(s.tries) != 1 {
			t.Errorf("RunPeriodicTaskManager() = %v after %v and %d tries, want %v after 500ms and one", err, d, len(s.tries), leaving)
		}
	})
}

// It is recognised by the text of asynq's error.
func TestManagerThatOthersStartedIsAnError(t *testing.T) {
	t.Parallel()
	for name, runs := range map[string]bool{"still running": true, "shut down": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, err := asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
					RedisUniversalClient: nowhere(t), SchedulerOpts: &asynq.SchedulerOpts{LogLevel: asynq.FatalLevel},
					PeriodicTaskConfigProvider: provider(everySecond),
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := m.Start(); err != nil {
					t.Fatal(err)
				}
				if runs {
					defer m.Shutdown()
				} else {
					m.Shutdown()
				}
				g, err := guard.New(guardtest.NewStore())
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err = asynqmw.RunPeriodicTaskManager(ctx, g, "manager", func() (*asynq.PeriodicTaskManager, error) { return m, nil })
				if err == nil || ctx.Err() != nil {
					t.Errorf("RunPeriodicTaskManager() = %v, want a word on the manager at once", err)
				}
				if err := g.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Two Schedulers that lead at once would enqueue every task twice, unnoticed.
func TestGuardThatLetsSeveralLeadIsAnError(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]guard.Option{"limit": guard.Limit(2), "shared": guard.Shared()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, err := guard.New(guardtest.NewStore(), opt)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err = asynqmw.RunScheduler(ctx, g, "scheduler", func() *asynq.Scheduler {
					t.Error("a Scheduler was made")
					return nil
				})
				if err == nil || !strings.Contains(err.Error(), "Limit") {
					t.Errorf("RunScheduler() = %v, want a word on the Limit", err)
				}
				if err := g.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The key is free at once: no other process waits for the TTL. The panic is not taken
// for the end of a term.
func TestPanicOfAFactoryPassesThroughAndFreesTheKey(t *testing.T) {
	t.Parallel()
	type run func(context.Context, *guard.Guard, *redis.Client) error
	for name, run := range map[string]run{
		"scheduler": func(ctx context.Context, g *guard.Guard, _ *redis.Client) error {
			return asynqmw.RunScheduler(ctx, g, "k", func() *asynq.Scheduler { panic("a bug") })
		},
		"manager": func(ctx context.Context, g *guard.Guard, _ *redis.Client) error {
			return asynqmw.RunPeriodicTaskManager(ctx, g, "k", func() (*asynq.PeriodicTaskManager, error) { panic("a bug") })
		},
		"provider": func(ctx context.Context, g *guard.Guard, client *redis.Client) error {
			return asynqmw.RunPeriodicTaskManager(ctx, g, "k", func() (*asynq.PeriodicTaskManager, error) {
				return asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
					RedisUniversalClient:       client,
					PeriodicTaskConfigProvider: provider(func() ([]*asynq.PeriodicTaskConfig, error) { panic("a bug") }),
				})
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
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
					t.Errorf("it returned %v", run(t.Context(), g, nowhere(t)))
				}()
				if owner, held := store.Holder("k"); held {
					t.Errorf("the key is held by %q", owner)
				}
				if err := g.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
