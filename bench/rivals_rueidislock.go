package main

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"
)

func rueidislockRival(name string, majority int32) rival {
	how := "With `KeyMajority: 1`, which its README advises for a single Redis, and `NoLoopTracking`, which it advises for speed from Redis 7.0.5 on. It renews and gives a context; waiters are woken by invalidations."
	if majority > 1 {
		how = fmt.Sprintf("The same with the default `KeyMajority: %d`: %d keys for each lock.", majority, 2*majority-1)
	}
	return rival{
		name:   name,
		module: "github.com/redis/rueidis",
		setup:  how,
		open: func(addrs []string, _ setup) (Locker, error) {
			locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
				ClientOption:   rueidis.ClientOption{InitAddress: addrs},
				KeyMajority:    majority,
				KeyValidity:    ttl,
				NoLoopTracking: true,
			})
			if err != nil {
				return nil, fmt.Errorf("open rueidislock: %w", err)
			}
			return &rueidisLocker{locker: locker}, nil
		},
	}
}

type rueidisLocker struct{ locker rueidislock.Locker }

func (l *rueidisLocker) Do(ctx context.Context, key string, fn func(token int64, ok bool)) error {
	_, release, err := l.locker.WithContext(ctx, key)
	if err != nil {
		return fmt.Errorf("lock %s: %w", key, err)
	}
	fn(0, false)
	release() // returns when the keys are deleted; returns no error
	return nil
}

func (l *rueidisLocker) Close() error {
	l.locker.Close()
	return nil
}
