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
	"github.com/jobguard/jobguard/internal/redistest"
)

// What the server gets for a task whose key another process holds.
func ExampleOnBusy() {
	store := guardtest.NewStore()
	store.Hold(guard.Key("order_id", "42"), "rival")
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	ship := func(context.Context, *asynq.Task) error { return nil }
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
	addr, stop := redistest.ForExample() // "localhost:6379"
	defer stop()
	conn := asynq.RedisClientOpt{Addr: addr}
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = rdb.Close() }() // nothing is written any more
	g, err := guard.New(redisstore.New(rdb))
	if err != nil {
		log.Panic(err)
	}
	mw, err := asynqmw.New(g, asynqmw.PayloadField("order_id"), asynqmw.WithRedis(conn))
	if err != nil {
		log.Panic(err)
	}

	client := asynq.NewClient(conn)
	order := []byte(`{"order_id": 42}`)
	steps := []string{"order:pay", "order:pack", "order:ship"}
	done := make(chan string)
	mux := asynq.NewServeMux()
	mux.Use(mw.Handler)
	for _, step := range steps {
		mux.HandleFunc(step, func(context.Context, *asynq.Task) error {
			done <- step
			return nil
		})
		if _, err := client.Enqueue(asynq.NewTask(step, order)); err != nil {
			log.Panic(err)
		}
	}
	server := asynq.NewServer(conn, mw.Config(asynq.Config{Concurrency: 10, LogLevel: asynq.ErrorLevel}))
	if err := server.Start(mux); err != nil {
		log.Panic(err)
	}
	for range steps {
		fmt.Println(<-done)
	}
	server.Shutdown()
	fmt.Println(errors.Join(client.Close(), mw.Close(), g.Shutdown(context.Background())))
	// Output:
	// order:pay
	// order:pack
	// order:ship
	// <nil>
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
	ship := func(context.Context, *asynq.Task) error { return nil }
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
