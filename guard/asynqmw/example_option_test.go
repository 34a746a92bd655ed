package asynqmw_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// What the server gets for a task whose key another process holds.
func ExampleOnBusy() {
	store := guardtest.NewStore()
	store.Hold(guard.Key("order_id", "42"), "rival")
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	policies := []asynqmw.Policy{asynqmw.Defer, asynqmw.Skip, asynqmw.Discard}
	for i, name := range []string{"Defer", "Skip", "Discard"} {
		mw, err := asynqmw.New(g, asynqmw.PayloadField("order_id"), asynqmw.OnBusy(policies[i]))
		if err != nil {
			log.Fatal(err)
		}
		cfg := mw.Config(asynq.Config{})
		task := asynq.NewTask("order:ship", []byte(`{"order_id": 42}`))
		err = mw.Handler(asynq.HandlerFunc(ship)).ProcessTask(cfg.BaseContext(), task)
		fmt.Printf("%s: done %t, deleted %t, failed %t\n", name, err == nil, errors.Is(err, asynq.RevokeTask), cfg.IsFailure(err))
	}
	// Output:
	// Defer: done false, deleted false, failed false
	// Skip: done true, deleted false, failed false
	// Discard: done false, deleted true, failed false
}

// Tasks of one order run in the order in which they were enqueued.
func ExampleWithRedis() {
	conn := asynq.RedisClientOpt{Addr: "localhost:6379"}
	g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: conn.Addr})))
	if err != nil {
		log.Fatal(err)
	}
	mw, err := asynqmw.New(g, asynqmw.PayloadField("order_id"), asynqmw.WithRedis(conn))
	if err != nil {
		log.Fatal(err)
	}
	mux := asynq.NewServeMux()
	mux.Use(mw.Handler)
	mux.HandleFunc("order:pay", func(context.Context, *asynq.Task) error { return nil })
	mux.HandleFunc("order:ship", ship)
	err = asynq.NewServer(conn, mw.Config(asynq.Config{})).Run(mux) // until SIGTERM
	if err := errors.Join(err, mw.Close(), g.Shutdown(context.Background())); err != nil {
		log.Fatal(err)
	}
}

func ExampleMiddleware_Config() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	mw, err := asynqmw.New(g, asynqmw.PayloadField("order_id"))
	if err != nil {
		log.Fatal(err)
	}
	handler := mw.Handler(asynq.HandlerFunc(ship))
	task := asynq.NewTask("order:ship", []byte(`{"order_id": 42}`))

	forgotten := handler.ProcessTask(context.Background(), task)
	fmt.Println("without Config:", errors.Is(forgotten, asynqmw.ErrNotConfigured))

	cfg := mw.Config(asynq.Config{Concurrency: 10})
	fmt.Println("with Config:", handler.ProcessTask(cfg.BaseContext(), task))
	fmt.Println("looks for deferred tasks every", cfg.DelayedTaskCheckInterval)
	// Output:
	// without Config: true
	// with Config: <nil>
	// looks for deferred tasks every 1s
}
