package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

func redsyncRival() rival {
	return rival{
		name:   nameRedsync,
		module: "github.com/go-redsync/redsync/v4",
		setup: "One goredis v9 pool, a Mutex for each use. `WithTries` without bound, since every waiter here waits until it is served " +
			"(the default of 32 would give up), and `WithRetryDelay` with the same pauses: the default, 50 to 250 ms by chance, is made for locks held for longer.",
		open: func(addrs []string, s setup) (Locker, error) {
			return openRedsync(addrs, s), nil
		},
	}
}

// redsync3Rival is the algorithm that redsync is for: Redlock.
func redsync3Rival() rival {
	return rival{
		name:   nameRedsync3,
		module: "github.com/go-redsync/redsync/v4",
		nodes:  3,
		setup:  "As redsync, over three pools, each to a server of its own.",
		open:   func(addrs []string, s setup) (Locker, error) { return openRedsync(addrs, s), nil },
	}
}

func openRedsync(addrs []string, s setup) *redsyncLocker {
	l := &redsyncLocker{retry: s.retry}
	var pools []redsyncredis.Pool
	for _, addr := range addrs {
		client := bareClient(addr, s)
		l.clients = append(l.clients, client)
		pools = append(pools, goredis.NewPool(client))
	}
	l.sync = redsync.New(pools...)
	return l
}

type redsyncLocker struct {
	clients []*redis.Client
	sync    *redsync.Redsync
	retry   time.Duration
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

func (l *redsyncLocker) Close() error { return closeClients(l.clients) }
