package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"
)

func redislockRival() rival {
	return rival{
		name:   nameRedislock,
		module: "github.com/bsm/redislock",
		setup: "`Obtain` with `LinearBackoff` and the same pauses. Its `ExponentialBackoff`, with 16 ms as the least that its document recommends, " +
			"lets the longest waiters try most rarely. Obtain gives up after the TTL if the context has no deadline; then it is called again.",
		open: func(addrs []string, s setup) (Locker, error) {
			client := bareClient(addrs[0], s)
			return &redislockLocker{
				client: client, locker: redislock.New(client),
				options: redislock.Options{RetryStrategy: redislock.LinearBackoff(s.retry)},
			}, nil
		},
	}
}

type redislockLocker struct {
	client  *redis.Client
	locker  *redislock.Client
	options redislock.Options
}

func (l *redislockLocker) Do(ctx context.Context, key string, fn func(token int64, ok bool)) error {
	lock, err := l.obtain(ctx, key)
	if err != nil {
		return fmt.Errorf("obtain %s: %w", key, err)
	}
	fn(0, false)
	if err := lock.Release(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("release %s: %w", key, err)
	}
	return nil
}

func (l *redislockLocker) obtain(ctx context.Context, key string) (*redislock.Lock, error) {
	for {
		began := time.Now()
		lock, err := l.locker.Obtain(ctx, key, ttl, &l.options)
		// Its own deadline, not ours.
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && time.Since(began) >= ttl {
			continue
		}
		return lock, err
	}
}

func (l *redislockLocker) Close() error { return l.client.Close() }
