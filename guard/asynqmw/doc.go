// Package asynqmw runs asynq tasks once at a time per key: a middleware that puts a
// task whose key is busy back into its queue, without a retry used up or a failure
// counted, and runs the tasks of a key in order. It works with
// github.com/hibiken/asynq v0.26.
//
//	package main
//
//	import (
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
//		mw, err := asynqmw.New(g, asynqmw.PayloadField("order"), asynqmw.WithRedis(conn))
//		if err != nil {
//			log.Fatal(err)
//		}
//		mux := asynq.NewServeMux() // mux.HandleFunc("order:ship", shipTask)
//		mux.Use(mw.Handler)
//		log.Print(asynq.NewServer(conn, mw.Config(asynq.Config{})).Run(mux)) // until a signal
//	}
//
// The field's name is part of the key: this one makes guard.Key("order", value).
// Run stops by itself at a signal; with package stop, Start the server instead.
//
// While the lease lasts, two handlers with the same key do not overlap, also if asynq
// gives up on one that still runs and starts its task again. asynq runs a task at
// least once: a handler must be idempotent, and pass guard.Fence to what it writes to.
// Services that must act once per order get the order's id from the payload, and not
// journal.ID, nor asynq.GetTaskID: a run, and a clone, have new ones. See the example Journal.
//
// With [WithRedis] tasks of one key that are enqueued to one queue run back to back and
// in that order, on whatever server, as long as nothing fails or pauses for half a second.
// A busy key or a store that is down defers the task; on the last attempt, where asynq
// archives, a clone replaces it. Without WithRedis that attempt waits until its Timeout.
// A lost lease is a failure and retried. So is a task without a valid key.
//
// [RunScheduler] enqueues periodic tasks from one process of the fleet. Shut the server
// down first and the guard after it.
//
// Every case with its test, the line of a key, clones and goroutines:
// https://github.com/jobguard/jobguard/blob/main/docs/behaviour/asynqmw.md
package asynqmw
