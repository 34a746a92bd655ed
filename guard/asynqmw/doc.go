// Package asynqmw runs asynq tasks once at a time per key: a middleware that puts a
// task whose key is busy back into its queue, without a retry used up or a failure
// counted. It works with github.com/hibiken/asynq v0.26.
//
//	package main
//
//	import (
//		"context"
//		"log"
//
//		"github.com/hibiken/asynq"
//		"github.com/redis/go-redis/v9"
//
//		"github.com/jobguard/jobguard/guard"
//		"github.com/jobguard/jobguard/guard/asynqmw"
//		"github.com/jobguard/jobguard/guard/lease/redisstore"
//	)
//
//	func main() {
//		addr := "localhost:6379"
//		g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: addr})))
//		if err != nil {
//			log.Fatal(err)
//		}
//		conn := asynq.RedisClientOpt{Addr: addr}
//		mux := asynq.NewServeMux()
//		mux.Use(asynqmw.New(g, asynqmw.PayloadField("order_id"), asynqmw.WithClient(asynq.NewClient(conn))))
//		mux.HandleFunc("order:ship", func(ctx context.Context, task *asynq.Task) error {
//			log.Printf("shipping %s, in no other process", task.Payload())
//			return nil
//		})
//		log.Print(asynq.NewServer(conn, asynqmw.Configure(asynq.Config{})).Run(mux))
//	}
//
// # Guarantees
//
// While the lease lasts, two handlers with the same key do not overlap, also if asynq
// gives up on one that still runs and starts its task again. asynq runs a task at
// least once: a handler must be idempotent, and pass guard.Fence to what it writes to.
// The server's configuration must go through [Configure]. With [OnBusy] Skip or
// Discard a task can be lost.
//
// # Failures
//
// A busy key or a store that is down defers the task. On the last attempt asynq
// archives a task whatever error comes back: with [WithClient] a clone replaces it,
// else the task waits until its Timeout. A lost lease is a failure and is retried; an
// invalid key archives the task; other errors of the handler pass through.
//
// [RunScheduler] and [RunPeriodicTaskManager] keep one asynq scheduler active in the
// fleet; another takes over within the TTL. Shut the server down first and the guard
// after it.
//
// Every case with its test, last attempts, Deadlines and goroutines:
// https://github.com/jobguard/jobguard/blob/main/docs/behaviour/asynqmw.md
package asynqmw
