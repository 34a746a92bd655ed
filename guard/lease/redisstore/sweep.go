package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxSwept bounds how many connections are asked at once.
const maxSwept = 64

// sweep asks each idle connection of client for a sign of life. What dropped one
// without a word has probably dropped others: those that do not answer within
// patience are closed by the client, instead of costing a later command its time.
// It returns then.
func sweep(client *redis.Client, patience time.Duration) {
	stats := client.PoolStats()
	client, _ = withDeadlines(client)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var all sync.WaitGroup
	for range min(stats.IdleConns, maxSwept) {
		all.Go(func() { _ = client.Process(ctx, newOp("", "ping")) }) // any answer is one
	}
	if pipelines := stats.PipelineStats; pipelines != nil { // they have a pool of their own
		for range min(pipelines.IdleConns, maxSwept) {
			all.Go(func() {
				pipe := client.Pipeline()
				_ = pipe.Process(ctx, newOp("", "ping"))
				_, _ = pipe.Exec(ctx)
			})
		}
	}
	all.Wait()
}
