package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/redislog"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func guardRival() rival {
	return rival{
		name:   nameGuard,
		module: ourModule,
		setup:  "`Do` on a redisstore, all defaults: renewal, a context that ends before the lease does, and the fencing token, which is read in every run.",
		open: func(addrs []string, s setup) (Locker, error) {
			return openGuard(addrs, s, guard.TTL(ttl))
		},
	}
}

// asyncRival does not wait for the answer to its release; its rivals all do.
func asyncRival() rival {
	return rival{
		name:   nameAsync,
		module: ourModule,
		only:   alone,
		setup:  "As guard, with `AsyncRelease`: `Do` returns before the release is answered. All others wait for that answer.",
		open: func(addrs []string, s setup) (Locker, error) {
			return openGuard(addrs, s, guard.TTL(ttl), guard.AsyncRelease())
		},
	}
}

// journalRival stores an intent before each run, and its outcome beside the release.
func journalRival() rival {
	return rival{
		name:   nameJournal,
		module: ourModule,
		only:   alone,
		setup:  "As guard, each run by a journal with its records on the same Redis: one round trip more, and two scripts.",
		open: func(addrs []string, s setup) (Locker, error) {
			l, err := openGuard(addrs, s, guard.TTL(ttl))
			if err != nil {
				return nil, err
			}
			j, err := journal.New(l.guard, redislog.New(l.clients[0]), journal.Retain(time.Second))
			return &journalLocker{guardLocker: l, journal: j}, err
		},
	}
}

type journalLocker struct {
	*guardLocker
	journal *journal.Journal
}

func (l *journalLocker) Do(ctx context.Context, key string, fn func(token int64, ok bool)) error {
	return l.journal.Do(ctx, key, journal.Op{Kind: "bench", Payload: []byte("a few bytes of what is intended")}, func(ctx context.Context) error {
		fn(guard.Fence(ctx))
		return nil
	})
}

func quorumRival() rival {
	return rival{
		name:   nameQuorum,
		module: ourModule,
		nodes:  3,
		setup:  "As guard, on a quorum of three redisstores, each on a server of its own.",
		open: func(addrs []string, s setup) (Locker, error) {
			return openGuard(addrs, s, guard.TTL(ttl))
		},
	}
}

type guardLocker struct {
	guard   *guard.Guard
	clients []*redis.Client
}

// openGuard opens a guard on one server, or on a quorum of several.
func openGuard(addrs []string, s setup, opts ...guard.Option) (*guardLocker, error) {
	l := &guardLocker{}
	var stores []lease.Store
	for _, addr := range addrs {
		client := bareClient(addr, s)
		l.clients = append(l.clients, client)
		stores = append(stores, redisstore.New(client))
	}
	store := stores[0]
	var err error
	if len(stores) > 1 {
		store, err = quorum.New(stores...)
	}
	if err == nil {
		l.guard, err = guard.New(store, opts...)
	}
	if err != nil {
		return nil, errors.Join(err, closeClients(l.clients))
	}
	return l, nil
}

func closeClients(clients []*redis.Client) error {
	var errs []error
	for _, c := range clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
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
	return errors.Join(err, closeClients(l.clients))
}
