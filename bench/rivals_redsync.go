package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

func redsyncRival() rival {
	return rival{
		name:   nameRedsync,
		module: "github.com/go-redsync/redsync/v4",
		setup: "One goredis v9 pool, a Mutex for each use. `WithTries` without bound, since every waiter here waits until it is served " +
			"(the default of 32 would give up), and `WithRetryDelay` with the same pauses: the default, 50 to 250 ms by chance, is made for locks held for longer.",
		open: func(addr string, s setup) (Locker, error) {
			client := bareClient(addr, s)
			return &redsyncLocker{client: client, sync: redsync.New(goredis.NewPool(client)), retry: s.retry}, nil
		},
	}
}

type redsyncLocker struct {
	client *redis.Client
	sync   *redsync.Redsync
	retry  time.Duration
}

func (l *redsyncLocker) Do(ctx context.Context, key string, fn func(token int64, ok bool)) error {
	m := l.sync.NewMutex(key,
		redsync.WithExpiry(ttl), redsync.WithTries(math.MaxInt32), redsync.WithRetryDelay(l.retry))
	if err := m.LockContext(ctx); err != nil {
		return fmt.Errorf("lock %s: %w", key, err)
	}
	fn(0, false)
	if ok, err := m.UnlockContext(context.WithoutCancel(ctx)); !ok {
		return fmt.Errorf("unlock %s: %w", key, err)
	}
	return nil
}

func (l *redsyncLocker) Close() error { return l.client.Close() }
