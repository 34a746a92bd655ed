package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

func redisOptions(addr string) *redis.Options {
	return &redis.Options{Addr: addr, ContextTimeoutEnabled: true}
}

// tidying is how long it may take to remove what was left at a server.
const tidying = 5 * time.Second

// server is the Redis of one performance.
type server struct {
	what   string // for people
	addr   string
	prefix string // of all that we keep there
	queue  string // of tasks, whose names asynq makes
	close  func() error
}

// openRedis returns the server at addr, or if that is empty, one in this process.
func openRedis(ctx context.Context, addr string) (*server, error) {
	queue := "inventory-" + rand.Text()[:8]
	prefix := queue + ":"
	if addr == "" {
		e, err := startEmbedded()
		if err != nil {
			return nil, err
		}
		return &server{
			what: "inside this process (-redis host:port takes a real one)",
			addr: e.addr(), prefix: prefix, queue: queue,
			close: func() error { e.close(); return nil },
		}, nil
	}

	logging.Disable() // our own words are enough
	client := redis.NewClient(redisOptions(addr))
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("cannot reach Redis at %s: %w", addr, err)
	}
	return &server{
		what: "at " + addr, addr: addr, prefix: prefix, queue: queue,
		close: func() error {
			defer func() { _ = client.Close() }() // nothing is left to be sent
			return errors.Join(removeKeys(client, prefix), forgetQueue(client, queue))
		},
	}, nil
}

// removeKeys deletes all keys that begin with prefix. It has its own context: it
// is most needed when the program's has ended.
func removeKeys(client *redis.Client, prefix string) error {
	ctx, cancel := context.WithTimeout(context.Background(), tidying)
	defer cancel()
	for cursor := uint64(0); ; {
		keys, next, err := client.Scan(ctx, cursor, prefix+"*", 1000).Result()
		if err == nil && len(keys) > 0 {
			err = client.Unlink(ctx, keys...).Err()
		}
		if err != nil {
			return fmt.Errorf("remove what begins with %s from Redis: %w", prefix, err)
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// forgetQueue deletes what asynq keeps of a queue and its servers, also of those that
// were killed. What asynq knows of a server names its queues, and expires ten seconds
// after its last sign of life; its place in the lists of servers and workers does not,
// so places whose time is over are removed whoever's they were, as asynq's tools do.
func forgetQueue(client *redis.Client, queue string) error {
	ctx, cancel := context.WithTimeout(context.Background(), tidying)
	defer cancel()
	doing := fmt.Errorf("remove the queue %s from Redis", queue)
	if err := client.SRem(ctx, "asynq:queues", queue).Err(); err != nil {
		return errors.Join(doing, err)
	}
	servers, err := client.ZRange(ctx, "asynq:servers", 0, -1).Result()
	if err != nil {
		return errors.Join(doing, err)
	}
	for _, server := range servers {
		if about, err := client.Get(ctx, server).Result(); err != nil || !strings.Contains(about, queue) {
			continue // another's, or gone
		}
		workers := strings.Replace(server, "servers", "workers", 1)
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.ZRem(ctx, "asynq:servers", server)
			p.ZRem(ctx, "asynq:workers", workers)
			p.Unlink(ctx, server, workers)
			return nil
		})
		if err != nil {
			return errors.Join(doing, err)
		}
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	for _, list := range []string{"asynq:servers", "asynq:workers"} {
		if err := client.ZRemRangeByScore(ctx, list, "-inf", now).Err(); err != nil {
			return errors.Join(doing, err)
		}
	}
	return removeKeys(client, "asynq:{"+queue+"}:")
}
