package main

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/bsm/redislock"
	gocronlock "github.com/go-co-op/gocron-redis-lock/v2"
	"github.com/go-co-op/gocron/v2"
	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// another takes the lock called name in the way of another library. It reports false if
// it is held.
type another func(ctx context.Context, name string) (release func() error, ok bool, err error)

// others are the libraries that may run beside a guard on the same keys, with the prefix
// of the guard's store that makes them the same.
func others(t *testing.T, addr string) map[string]struct {
	prefix string
	take   another
} {
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = client.Close() })
	locks := redislock.New(client)
	compareAndDelete := redis.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)
	return map[string]struct {
		prefix string
		take   another
	}{
		"redsync": {"", takeRedsync(redsync.New(goredis.NewPool(client)))},
		"gocron":  {"", takeGocron(client)},
		"redislock": {"", func(ctx context.Context, name string) (func() error, bool, error) {
			lock, err := locks.Obtain(ctx, name, time.Minute, nil)
			if errors.Is(err, redislock.ErrNotObtained) {
				return nil, false, nil
			}
			return func() error { return lock.Release(ctx) }, err == nil, err
		}},
		"rueidislock with KeyMajority 1":                    {"rueidislock:0:", takeRueidislock(t, addr, rueidislock.LockerOption{KeyMajority: 1})},
		"rueidislock with KeyMajority 1 and NoLoopTracking": {"rueidislock:0:", takeRueidislock(t, addr, rueidislock.LockerOption{KeyMajority: 1, NoLoopTracking: true})},
		"SET NX PX by hand": {"", func(ctx context.Context, name string) (func() error, bool, error) {
			value := rand.Text()
			ok, err := client.SetNX(ctx, name, value, time.Minute).Result()
			return func() error { return compareAndDelete.Run(ctx, client, []string{name}, value).Err() }, ok, err
		}},
	}
}

func takeRueidislock(t *testing.T, addr string, o rueidislock.LockerOption) another {
	o.ClientOption = rueidis.ClientOption{InitAddress: []string{addr}}
	locker, err := rueidislock.NewLocker(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(locker.Close)
	return func(ctx context.Context, name string) (func() error, bool, error) {
		_, cancel, err := locker.TryWithContext(ctx, name)
		if errors.Is(err, rueidislock.ErrNotLocked) {
			return nil, false, nil
		}
		return func() error { cancel(); return nil }, err == nil, err
	}
}

func takeRedsync(pool *redsync.Redsync) another {
	return func(ctx context.Context, name string) (func() error, bool, error) {
		m := pool.NewMutex(name, redsync.WithTries(1))
		err := m.TryLockContext(ctx)
		var taken *redsync.ErrTaken
		if errors.As(err, &taken) || errors.Is(err, redsync.ErrFailed) {
			return nil, false, nil
		}
		return func() error { _, err := m.UnlockContext(ctx); return err }, err == nil, err
	}
}

// takeGocron takes the lock as schedulers do: by a run of the job of that name.
func takeGocron(client *redis.Client) another {
	return func(ctx context.Context, name string) (func() error, bool, error) {
		locker, err := gocronlock.NewRedisLocker(client, gocronlock.WithTries(1))
		if err != nil {
			return nil, false, err
		}
		unlocked := make(chan error, 1)
		scheduler, err := gocron.NewScheduler(gocron.WithDistributedLocker(watchedLocker{locker, unlocked}))
		if err != nil {
			return nil, false, err
		}
		running, end, refused := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		_, err = scheduler.NewJob(gocron.OneTimeJob(gocron.OneTimeJobStartImmediately()),
			gocron.NewTask(func() { close(running); <-end }), gocron.WithName(name),
			gocron.WithEventListeners(gocron.AfterLockError(func(_ uuid.UUID, _ string, err error) { refused <- err })))
		if err != nil {
			return nil, false, errors.Join(err, scheduler.Shutdown())
		}
		scheduler.Start()
		select {
		case <-running:
			return func() error { close(end); return errors.Join(<-unlocked, scheduler.Shutdown()) }, true, nil
		case err := <-refused:
			if errors.Is(err, gocronlock.ErrFailedToObtainLock) {
				err = nil
			}
			return nil, false, errors.Join(err, scheduler.Shutdown())
		case <-ctx.Done():
			close(end)
			return nil, false, errors.Join(context.Cause(ctx), scheduler.Shutdown())
		}
	}
}

// watchedLocker tells what came of Unlock, which a scheduler drops.
type watchedLocker struct {
	gocron.Locker
	unlocked chan<- error
}

type watchedLock struct {
	gocron.Lock
	unlocked chan<- error
}

func (l watchedLocker) Lock(ctx context.Context, key string) (gocron.Lock, error) {
	lock, err := l.Locker.Lock(ctx, key)
	return watchedLock{lock, l.unlocked}, err
}

func (l watchedLock) Unlock(ctx context.Context) error {
	err := l.Lock.Unlock(ctx)
	l.unlocked <- err
	return err
}

// A fleet that changes over to jobguard runs both for a while.
func TestOtherLibrariesAndGuardExcludeEachOtherOnOneKey(t *testing.T) {
	addr := redistest.Start(t).Addr()
	for name, other := range others(t, addr) {
		t.Run(name, func(t *testing.T) {
			client := redis.NewClient(&redis.Options{Addr: addr})
			defer func() { _ = client.Close() }()
			takeTurns(t, other.take, redisstore.New(client, redisstore.Prefix(other.prefix)), "job of "+name)
		})
	}
}

// rueidislock asks for two keys of three. Of a lease at one of them it learns only if it
// asks for that one.
func TestRueidislockOfTwoKeysTakesTheLockBesideALeaseAtTheThird(t *testing.T) {
	addr := redistest.Start(t).Addr()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = client.Close() }()
	g, err := guard.New(redisstore.New(client, redisstore.Prefix("rueidislock:2:")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Shutdown(context.Background()) }()
	take := takeRueidislock(t, addr, rueidislock.LockerOption{KeyMajority: 2})
	err = g.Do(t.Context(), "job", func(ctx context.Context) error {
		release, ok, err := take(ctx, "job")
		if !ok || err != nil {
			t.Errorf("rueidislock got %v, %v: then the docs can say that it is safe", ok, err)
			return nil
		}
		return release()
	})
	if err != nil {
		t.Error(err)
	}
}

// A majority decides in both.
func TestRedsyncOverThreeServersAndAQuorumExcludeEachOtherOnOneKey(t *testing.T) {
	var pools []redsyncredis.Pool
	var stores []lease.Store
	for range 3 {
		client := redis.NewClient(&redis.Options{Addr: redistest.Start(t).Addr()})
		t.Cleanup(func() { _ = client.Close() })
		pools = append(pools, goredis.NewPool(client))
		stores = append(stores, redisstore.New(client, redisstore.Prefix("")))
	}
	store, err := quorum.New(stores...)
	if err != nil {
		t.Fatal(err)
	}
	takeTurns(t, takeRedsync(redsync.New(pools...)), store, "job")
}

// takeTurns has the other library and a guard take the lock called key in turns, and try it
// while the other one has it.
func takeTurns(t *testing.T, other another, store lease.Store, key string) {
	g, err := guard.New(store)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Shutdown(context.Background()) }()
	tries := g.With(guard.Wait(0))
	nothing := func(context.Context) error { return nil }
	take := func() func() error {
		t.Helper()
		release, ok, err := other(t.Context(), key)
		if err != nil || !ok {
			t.Fatalf("%v, %v, want the free lock", ok, err)
		}
		return release
	}
	for range 2 { // of which the second is a contended key to guard
		release := take()
		if err := tries.Do(t.Context(), key, nothing); !errors.Is(err, guard.ErrBusy) {
			t.Errorf("beside the other's lock Do() = %v, want ErrBusy", err)
		}
		if err := release(); err != nil {
			t.Errorf("the other's release: %v", err)
		}
		err := g.Do(t.Context(), key, func(ctx context.Context) error {
			if _, ok, err := other(ctx, key); ok || err != nil {
				t.Errorf("beside the lease the other got %v, %v", ok, err)
			}
			return nil
		})
		if err != nil {
			t.Errorf("after the other's release Do() = %v", err)
		}
		if err := take()(); err != nil {
			t.Errorf("the other's release: %v", err)
		}
	}
}
