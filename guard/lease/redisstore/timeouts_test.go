package redisstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/internal/redistest"
)

// Callers get their answer by their deadline whatever the client's options say: here
// all of go-redis 9.23's that touch time, on a server that has stopped.
func TestCallsReturnByTheirDeadlineWhateverTheOptions(t *testing.T) {
	t.Parallel()
	const long = time.Hour
	for name, set := range map[string]func(*redis.Options){
		"defaults":                 func(*redis.Options) {},
		"ReadTimeout -2":           func(o *redis.Options) { o.ReadTimeout = -2 },
		"WriteTimeout -2":          func(o *redis.Options) { o.WriteTimeout = -2 },
		"both -2":                  func(o *redis.Options) { o.ReadTimeout, o.WriteTimeout = -2, -2 },
		"both -1":                  func(o *redis.Options) { o.ReadTimeout, o.WriteTimeout = -1, -1 },
		"both long":                func(o *redis.Options) { o.ReadTimeout, o.WriteTimeout = long, long },
		"DialTimeout long":         func(o *redis.Options) { o.DialTimeout = long },
		"PoolTimeout long, 1 conn": func(o *redis.Options) { o.PoolTimeout, o.PoolSize, o.MaxActiveConns = long, 1, 1 },
		"long pauses and many retries": func(o *redis.Options) {
			o.MaxRetries, o.MinRetryBackoff, o.MaxRetryBackoff = 100, long, long
			o.DialerRetries, o.DialerRetryTimeout = 100, long
		},
		"conns of no age": func(o *redis.Options) { o.ConnMaxIdleTime, o.ConnMaxLifetime = 1, 1 },
	} {
		for _, enabled := range []bool{false, true} {
			for _, warm := range []bool{false, true} { // with a pooled connection, and without
				t.Run(name+map[bool]string{true: ", ContextTimeoutEnabled"}[enabled]+map[bool]string{true: ", warm"}[warm], func(t *testing.T) {
					t.Parallel()
					server := redistest.Start(t)
					o := &redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: enabled}
					set(o)
					client := redis.NewClient(o)
					defer func() { _ = client.Close() }()
					p := newProcess(t, client)
					if warm {
						p.granted("held", p.NewOwner(""))
					}
					server.Pause()
					overdue := time.AfterFunc(5*time.Second, server.Resume) // a call that hangs must not hang the test
					defer func() { overdue.Stop(); server.Resume() }()
					const patience = 300 * time.Millisecond
					attempt := lease.NewAttempt(time.Now().Add(patience))
					defer attempt.End()
					for _, ctx := range []context.Context{attempt, within(t, 2*patience)} {
						start := time.Now()
						_, err := p.Acquire(ctx, lease.AcquireRequest{Key: "k", Owner: p.NewOwner(""), TTL: ttl, Place: lease.Place{Reservation: reservation}, TokenCount: 1})
						if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 2*patience+time.Second {
							t.Errorf("%v after %v, want the end of its context", err, took)
						}
					}
				})
			}
		}
	}
}
