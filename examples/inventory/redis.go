package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

func redisOptions(addr string) *redis.Options {
	return &redis.Options{Addr: addr, ContextTimeoutEnabled: true}
}

// server is the Redis of one performance.
type server struct {
	what   string // for people
	addr   string
	prefix string // of all that we keep there
	close  func() error
}

// openRedis returns the server at addr, or if that is empty, one in this process.
func openRedis(ctx context.Context, addr string) (*server, error) {
	prefix := "inventory-" + rand.Text()[:8] + ":"
	if addr == "" {
		e, err := startEmbedded()
		if err != nil {
			return nil, err
		}
		return &server{
			what: "inside this process (-redis host:port takes a real one)",
			addr: e.addr(), prefix: prefix,
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
		what: "at " + addr, addr: addr, prefix: prefix,
		close: func() error {
			defer func() { _ = client.Close() }() // nothing is left to be sent
			return removeKeys(client, prefix)
		},
	}, nil
}

// removeKeys deletes all keys that begin with prefix. It has its own context: it
// is most needed when the program's has ended.
func removeKeys(client *redis.Client, prefix string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator()
	for keys.Next(ctx) {
		if err := client.Unlink(ctx, keys.Val()).Err(); err != nil {
			return fmt.Errorf("remove what begins with %s from Redis: %w", prefix, err)
		}
	}
	if err := keys.Err(); err != nil {
		return fmt.Errorf("remove what begins with %s from Redis: %w", prefix, err)
	}
	return nil
}
