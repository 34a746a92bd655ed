package asynqmw_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/internal/redistest"
)

// replica is one process of a fleet that competes to enqueue periodically.
type replica struct {
	ticks  atomic.Int64
	proxy  *redistest.Proxy // between its guard and the store
	guard  *guard.Guard
	cancel context.CancelFunc
	result chan error // of what it runs
}

func (f *fleet) replica(t *testing.T, ttl time.Duration) *replica {
	proxy := redistest.NewProxy(t, f.redis.Addr())
	return &replica{proxy: proxy, guard: guardAt(t, proxy.Addr(), guard.TTL(ttl)), result: make(chan error, 1)}
}

// scheduler returns a Scheduler that ticks every second.
func (r *replica) scheduler(t *testing.T, f *fleet) *asynq.Scheduler {
	s := asynq.NewScheduler(f.conn(), r.opts())
	if _, err := s.Register("@every 1s", asynq.NewTask("tick", nil)); err != nil {
		t.Error(err)
	}
	return s
}

func (r *replica) opts() *asynq.SchedulerOpts {
	return &asynq.SchedulerOpts{
		LogLevel: asynq.FatalLevel,
		PostEnqueueFunc: func(_ *asynq.TaskInfo, err error) {
			if err == nil {
				r.ticks.Add(1)
			}
		},
	}
}

// run runs f on a goroutine that ends with the test or with r.cancel.
func (r *replica) run(t *testing.T, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	over := make(chan struct{})
	go func() {
		defer close(over)
		r.result <- f(ctx)
	}()
	t.Cleanup(func() {
		r.proxy.Heal()
		cancel()
		<-over
	})
}

func (r *replica) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.result:
		return err
	case <-time.After(waitLimit):
		t.Fatal("it did not end")
		return nil
	}
}

// unseat takes key from its holder again and again, so that the leader campaigns
// anew, until what r runs has ended.
func (f *fleet) unseat(t *testing.T, r *replica, key string) (err error) {
	t.Helper()
	eventually(t, "it ends", func() bool {
		f.admin.Del(t.Context(), "guard:"+key)
		select {
		case err = <-r.result:
			return true
		default:
			return false
		}
	})
	return err
}

func await(t *testing.T, n *atomic.Int64, more int64) {
	t.Helper()
	from := n.Load()
	eventually(t, "ticks", func() bool { return n.Load() >= from+more })
}

func TestOneSchedulerIsActiveAndAnotherTakesOverWhenItDies(t *testing.T) {
	f := newFleet(t)
	var replicas [2]*replica
	for i := range replicas {
		r := f.replica(t, 4*time.Second) // a slow leader must not be taken for dead
		replicas[i] = r
		r.run(t, func(ctx context.Context) error {
			return asynqmw.RunScheduler(ctx, r.guard, "scheduler", func() *asynq.Scheduler { return r.scheduler(t, f) })
		})
	}
	a, b := replicas[0], replicas[1]
	eventually(t, "a replica ticks", func() bool { return a.ticks.Load()+b.ticks.Load() > 0 })
	if b.ticks.Load() > 0 {
		a, b = b, a
	}
	await(t, &a.ticks, 2)
	if b.ticks.Load() != 0 {
		t.Errorf("the other ticked %d times alongside the leader", b.ticks.Load())
	}

	a.proxy.Cut() // to the fleet it is dead
	await(t, &b.ticks, 1)
	last := a.ticks.Load()
	await(t, &b.ticks, 2)
	if a.ticks.Load() != last {
		t.Error("the former leader went on alongside the new one")
	}

	a.proxy.Heal()
	b.cancel() // and back again, with a Scheduler made anew
	if err := b.end(t); !errors.Is(err, context.Canceled) {
		t.Errorf("RunScheduler() = %v, want the end of its context", err)
	}
	last = b.ticks.Load()
	await(t, &a.ticks, 1)
	if b.ticks.Load() != last {
		t.Error("it ticks after it returned")
	}
}

type provider func() ([]*asynq.PeriodicTaskConfig, error)

func (p provider) GetConfigs() ([]*asynq.PeriodicTaskConfig, error) { return p() }

func everySecond() ([]*asynq.PeriodicTaskConfig, error) {
	return []*asynq.PeriodicTaskConfig{{Cronspec: "@every 1s", Task: asynq.NewTask("tick", nil)}}, nil
}

// manage runs a PeriodicTaskManager with what p provides.
func (r *replica) manage(t *testing.T, f *fleet, p provider) {
	r.run(t, func(ctx context.Context) error {
		return asynqmw.RunPeriodicTaskManager(ctx, r.guard, "manager", func() (*asynq.PeriodicTaskManager, error) {
			return asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
				RedisConnOpt: f.conn(), SchedulerOpts: r.opts(), PeriodicTaskConfigProvider: p,
			})
		})
	})
}

func TestOnePeriodicTaskManagerIsActiveAndHandsOverWhenItEnds(t *testing.T) {
	f := newFleet(t)
	a, b := f.replica(t, time.Hour), f.replica(t, time.Hour) // no expiry helps
	a.manage(t, f, everySecond)
	await(t, &a.ticks, 1)
	b.manage(t, f, everySecond)
	await(t, &a.ticks, 2)
	if b.ticks.Load() != 0 {
		t.Error("the second ticks alongside the first")
	}
	a.cancel()
	if err := a.end(t); !errors.Is(err, context.Canceled) {
		t.Errorf("RunPeriodicTaskManager() = %v, want the end of its context", err)
	}
	last := a.ticks.Load()
	await(t, &b.ticks, 1)
	if a.ticks.Load() != last {
		t.Error("it ticks after it returned")
	}
}

func TestAnotherPeriodicTaskManagerTakesOverWhenTheLeaderDies(t *testing.T) {
	f := newFleet(t)
	a, b := f.replica(t, time.Second), f.replica(t, time.Second)
	a.manage(t, f, everySecond)
	await(t, &a.ticks, 1)
	b.manage(t, f, everySecond)
	a.proxy.Cut() // to the fleet it is dead
	await(t, &b.ticks, 1)
	last := a.ticks.Load()
	await(t, &b.ticks, 2)
	if a.ticks.Load() != last {
		t.Error("the former leader went on alongside the new one")
	}
}

func TestManagerOfAnEarlierTermIsAnError(t *testing.T) {
	f := newFleet(t)
	r := f.replica(t, 3*time.Second) // no term ends by itself
	managers := make([]*asynq.PeriodicTaskManager, 2)
	for i := range managers {
		m, err := asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
			RedisConnOpt: f.conn(), SchedulerOpts: r.opts(), PeriodicTaskConfigProvider: provider(everySecond),
		})
		if err != nil {
			t.Fatal(err)
		}
		managers[i] = m
	}
	var made int
	r.run(t, func(ctx context.Context) error {
		return asynqmw.RunPeriodicTaskManager(ctx, r.guard, "aba", func() (*asynq.PeriodicTaskManager, error) {
			made++
			return managers[(made-1)%2], nil
		})
	})
	await(t, &r.ticks, 1)
	if err := f.unseat(t, r, "aba"); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("RunPeriodicTaskManager() = %v, want a word on the manager that was used", err)
	}
	if made < 3 { // a third that loses its lease at once proves nothing
		t.Errorf("the factory was called %d times, want 3", made)
	}
}

func TestManagerThatCannotStartStepsDownForAnotherAndTriesAgain(t *testing.T) {
	f := newFleet(t)
	a, b := f.replica(t, time.Hour), f.replica(t, time.Hour)
	var tries, healed atomic.Int64
	a.manage(t, f, func() ([]*asynq.PeriodicTaskConfig, error) {
		tries.Add(1)
		if healed.Load() == 0 {
			return nil, errors.New("no configuration today")
		}
		return everySecond()
	})
	await(t, &tries, 2)
	b.manage(t, f, everySecond)
	await(t, &b.ticks, 1)
	healed.Store(1)
	b.cancel()
	await(t, &a.ticks, 1)
}

func TestFactoriesThatCannotWorkReturnErrors(t *testing.T) {
	f := newFleet(t)
	r := f.replica(t, 500*time.Millisecond)
	err := asynqmw.RunScheduler(t.Context(), r.guard, "nil", func() *asynq.Scheduler { return nil })
	if err == nil {
		t.Error("a nil Scheduler is no error")
	}
	own := errors.New("own error")
	err = asynqmw.RunPeriodicTaskManager(t.Context(), r.guard, "fails", func() (*asynq.PeriodicTaskManager, error) { return nil, own })
	if !errors.Is(err, own) {
		t.Errorf("RunPeriodicTaskManager() = %v, want %v", err, own)
	}

	same, err := asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
		RedisConnOpt: f.conn(), SchedulerOpts: r.opts(), PeriodicTaskConfigProvider: provider(everySecond),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.run(t, func(ctx context.Context) error {
		return asynqmw.RunPeriodicTaskManager(ctx, r.guard, "same", func() (*asynq.PeriodicTaskManager, error) { return same, nil })
	})
	if err := f.unseat(t, r, "same"); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("RunPeriodicTaskManager() = %v, want a word on the manager that was used", err)
	}
}
