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

func Example_server() {
	addr := "localhost:6379"
	g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: addr})))
	if err != nil {
		log.Fatal(err)
	}
	conn := asynq.RedisClientOpt{Addr: addr}
	perOrder := asynqmw.New(g, asynqmw.PayloadField("order_id"), asynqmw.WithClient(asynq.NewClient(conn)))
	mux := asynq.NewServeMux()
	mux.Use(perOrder)
	mux.HandleFunc("order:ship", ship)
	if err := asynq.NewServer(conn, asynqmw.Configure(asynq.Config{})).Run(mux); err != nil {
		log.Fatal(err)
	}
}

func ship(context.Context, *asynq.Task) error { return nil }

// An asynq server calls mux.ProcessTask for each task, under the BaseContext of
// its Config, and asks IsFailure about the error. A unit test can do the same.
func Example() {
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	mux := asynq.NewServeMux()
	mux.Use(asynqmw.New(g, asynqmw.PayloadField("order_id")))
	mux.HandleFunc("order:ship", func(ctx context.Context, _ *asynq.Task) error {
		fmt.Println("shipping, alone:", guard.Holding(ctx, guard.Key("order_id", "42")))
		return nil
	})
	cfg := asynqmw.Configure(asynq.Config{Concurrency: 10})

	task := asynq.NewTask("order:ship", []byte(`{"order_id": 42}`))
	fmt.Println(mux.ProcessTask(cfg.BaseContext(), task))

	store.Hold(guard.Key("order_id", "42"), "rival")
	err = mux.ProcessTask(cfg.BaseContext(), task)
	fmt.Println("busy:", errors.Is(err, guard.ErrBusy), "failure:", cfg.IsFailure(err))
	// Output:
	// shipping, alone: true
	// <nil>
	// busy: true failure: false
}
