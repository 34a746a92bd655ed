package redislog

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/internal/layout"
)

var (
	//go:embed scripts/record.lua
	recordLua string
	//go:embed scripts/begin.lua
	beginLua string
	//go:embed scripts/checkpoint.lua
	checkpointLua string
	//go:embed scripts/end.lua
	endLua string
	//go:embed scripts/take.lua
	takeLua string
	//go:embed scripts/claim.lua
	claimLua string
	//go:embed scripts/resolve.lua
	resolveLua string
	//go:embed scripts/postpone.lua
	postponeLua string
	//go:embed scripts/requeue.lua
	requeueLua string
	//go:embed scripts/drop.lua
	dropLua string
	//go:embed scripts/stats.lua
	statsLua string

	beginScript      = redis.NewScript(recordLua + beginLua)
	checkpointScript = redis.NewScript(checkpointLua)
	endScript        = redis.NewScript(recordLua + endLua)
	takeScript       = redis.NewScript(takeLua)
	claimScript      = redis.NewScript(recordLua + claimLua)
	resolveScript    = redis.NewScript(recordLua + resolveLua)
	postponeScript   = redis.NewScript(recordLua + postponeLua)
	requeueScript    = redis.NewScript(recordLua + requeueLua)
	dropScript       = redis.NewScript(recordLua + dropLua)
	statsScript      = redis.NewScript(statsLua)
)

// run sends a script by its digest, and in full to a server that does not have it.
func (l *Log) run(ctx context.Context, doing string, s *redis.Script, keys []string, args ...any) (any, error) {
	reply, err := bounded(ctx, l.client, func(ctx context.Context) (any, error) { return s.Run(ctx, l.client, keys, args...).Result() })
	if err != nil {
		return nil, fmt.Errorf("redislog: %s: %w", doing, err)
	}
	return reply, nil
}

// integer is run for a script that returns a number.
func (l *Log) integer(ctx context.Context, doing string, s *redis.Script, keys []string, args ...any) (int64, error) {
	reply, err := l.run(ctx, doing, s, keys, args...)
	if err != nil {
		return 0, err
	}
	n, ok := reply.(int64)
	if !ok {
		return 0, fmt.Errorf("redislog: %s: the reply is %v", doing, reply)
	}
	return n, nil
}

// list is run for a script that returns a list.
func (l *Log) list(ctx context.Context, doing string, s *redis.Script, keys []string, args ...any) (*reader, error) {
	reply, err := l.run(ctx, doing, s, keys, args...)
	if err != nil {
		return nil, err
	}
	values, ok := reply.([]any)
	if !ok {
		return nil, fmt.Errorf("redislog: %s: the reply is %v", doing, reply)
	}
	return &reader{doing: doing, values: values}, nil
}

// bounded returns when f does, or when ctx ends: a client without ContextTimeoutEnabled
// does not heed a deadline while it waits for a reply. f's goroutine ends with the
// client's own timeouts then.
//
// If the error says that a Cluster's layout may be outdated it is loaded again.
func bounded[T any](ctx context.Context, client redis.UniversalClient, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	done := make(chan result, 1)
	go func() {
		v, err := f(ctx)
		done <- result{v, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	if cluster, ok := client.(*redis.ClusterClient); ok && layout.Outdated(r.err) {
		cluster.ReloadState(ctx) // starts the reload, and returns
	}
	return r.value, r.err
}
