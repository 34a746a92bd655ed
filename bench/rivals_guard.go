package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func guardRival() rival {
	return rival{
		name:   nameGuard,
		module: "github.com/jobguard/jobguard",
		setup:  "`Do` on a redisstore, all defaults: renewal, a context that ends before the lease does, and the fencing token, which is read in every run.",
		open: func(addr string, s setup) (Locker, error) {
			return openGuard(addr, s, guard.TTL(ttl))
		},
	}
}

type guardLocker struct {
	guard  *guard.Guard
	client *redis.Client
}

func openGuard(addr string, s setup, opts ...guard.Option) (*guardLocker, error) {
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, PoolSize: s.pool})
	g, err := guard.New(redisstore.New(client), opts...)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &guardLocker{guard: g, client: client}, nil
}

func (l *guardLocker) Do(ctx context.Context, key string, fn func(token int64, ok bool)) error {
	return l.guard.Do(ctx, key, func(ctx context.Context) error {
		fn(guard.Fence(ctx))
		return nil
	})
}

func (l *guardLocker) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := l.guard.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("shut the guard down: %w", err)
	}
	return errors.Join(err, l.client.Close())
}
