package asynqmw_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func Example_server() {
	g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: "localhost:6379"})))
	if err != nil {
		log.Fatal(err)
	}
	conn := asynq.RedisClientOpt{Addr: "localhost:6379"}
	mw, err := asynqmw.New(g, asynqmw.PayloadField("order"), asynqmw.WithRedis(conn))
	if err != nil {
		log.Fatal(err)
	}
	mux := asynq.NewServeMux()
	mux.Use(mw.Handler)
	mux.HandleFunc("order:ship", shipTask)
	if err := asynq.NewServer(conn, mw.Config(asynq.Config{})).Run(mux); err != nil { // until a signal; beside other things: Start
		log.Fatal(err)
	}
}

func shipTask(context.Context, *asynq.Task) error { return nil }

// Of two replicas, which both schedule, one enqueues.
func ExampleRunScheduler() {
	addr, stop := redistest.ForExample() // "localhost:6379"
	defer stop()
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = rdb.Close() }() // nothing is written any more
	conn := asynq.RedisClientOpt{Addr: addr}
	ctx, cancel := context.WithTimeout(context.Background(), 2500*time.Millisecond)
	defer cancel()

	ended := make(chan error)
	for range 2 {
		g, err := guard.New(redisstore.New(rdb))
		if err != nil {
			log.Panic(err)
		}
		go func() { // until ctx ends
			ended <- asynqmw.RunScheduler(ctx, g, "billing", conn, asynqmw.Periodic{
				{Cronspec: "@every 1s", Task: asynq.NewTask("bill:poll", nil)},
				{Cronspec: "CRON_TZ=Europe/Berlin 0 3 * * *", Task: asynq.NewTask("bill:close", nil)},
			})
		}()
	}
	fmt.Println(<-ended)
	fmt.Println(<-ended)

	inspector := asynq.NewInspector(conn)
	defer func() { _ = inspector.Close() }() // nothing is read any more
	tasks, err := inspector.ListPendingTasks("default")
	if err != nil {
		log.Panic(err)
	}
	polls := 0
	for _, task := range tasks {
		if task.Type == "bill:poll" {
			polls++
		}
	}
	fmt.Println("one a second:", polls > 0 && polls <= 3)
	// Output:
	// context deadline exceeded
	// context deadline exceeded
	// one a second: true
}

// An asynq server calls the handler for each task, under the BaseContext of its Config,
// and asks IsFailure about the error. A unit test can do the same.
func Example() {
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	mw, err := asynqmw.New(g, asynqmw.PayloadField("order_id"))
	if err != nil {
		log.Fatal(err)
	}
	handler := mw.Handler(asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		fmt.Println("shipping, alone:", guard.Holding(ctx, guard.Key("order_id", "42")))
		return nil
	}))
	cfg := mw.Config(asynq.Config{Concurrency: 10})

	task := asynq.NewTask("order:ship", []byte(`{"order_id": 42}`))
	fmt.Println(handler.ProcessTask(cfg.BaseContext(), task))

	store.Hold(guard.Key("order_id", "42"), "rival")
	err = handler.ProcessTask(cfg.BaseContext(), task)
	fmt.Println("busy:", errors.Is(err, guard.ErrBusy), "failure:", cfg.IsFailure(err))
	// Output:
	// shipping, alone: true
	// <nil>
	// busy: true failure: false
}
