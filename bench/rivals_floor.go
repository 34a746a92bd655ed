package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

func floorRival() rival {
	return rival{
		name: nameFloor,
		setup: "The least that a lock on Redis does: `SET NX PX` with a random value and a compare-and-delete script, on bare go-redis. " +
			"No renewal, no context, no token. A key that is held is tried again after a pause: 20 ms, or with work 5 ms.",
		open: func(addrs []string, s setup) (Locker, error) {
			return &floorLocker{client: bareClient(addrs[0], s), retry: s.retry}, nil
		},
	}
}

// bareClient is a client as the rivals' documents make it.
func bareClient(addr string, s setup) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: addr, PoolSize: s.pool})
}

type floorLocker struct {
	client *redis.Client
	retry  time.Duration
}

// compareAndDelete frees KEYS[1] if its value is still ARGV[1].
var compareAndDelete = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then
	return redis.call('DEL', KEYS[1])
end
return 0`)

var errNotHeld = errors.New("the key was no longer ours at its release")

func (l *floorLocker) Do(ctx context.Context, key string, fn func(token int64, ok bool)) error {
	value := rand.Text()
	for {
		ok, err := l.client.SetNX(ctx, key, value, ttl).Result()
		if err != nil {
			return fmt.Errorf("set %s: %w", key, err)
		}
		if ok {
			break
		}
		if err := pause(ctx, l.retry); err != nil {
			return err
		}
	}
	fn(0, false)
	n, err := compareAndDelete.Run(context.WithoutCancel(ctx), l.client, []string{key}, value).Int()
	switch {
	case err != nil:
		return fmt.Errorf("release %s: %w", key, err)
	case n == 0:
		return errNotHeld
	}
	return nil
}

func (l *floorLocker) Close() error { return l.client.Close() }

// pause returns after d, or with ctx's error as soon as that ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
