package asynqmw_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func ExamplePayloadField() {
	key := asynqmw.PayloadField("order_id")
	for _, payload := range []string{`{"order_id": 42}`, `{"order_id": "42", "express": true}`, `{"orderId": 42}`} {
		k, err := key(context.Background(), asynq.NewTask("order:ship", []byte(payload)))
		fmt.Printf("%q, invalid: %t\n", k, errors.Is(err, guard.ErrInvalidKey))
	}
	// Output:
	// "order_id:42", invalid: false
	// "order_id:42", invalid: false
	// "", invalid: true
}

// Tasks of a tenant and SKU exclude each other, whatever their type.
func ExampleJoin() {
	key := asynqmw.Join(asynqmw.PayloadField("tenant"), asynqmw.PayloadField("sku"))
	one, err1 := key(context.Background(), asynq.NewTask("stock:add", []byte(`{"tenant": "acme", "sku": "a:7"}`)))
	two, err2 := key(context.Background(), asynq.NewTask("stock:count", []byte(`{"sku": "a:7", "tenant": "acme"}`)))
	other, err3 := key(context.Background(), asynq.NewTask("stock:add", []byte(`{"tenant": "acme:a", "sku": "7"}`)))
	if err := errors.Join(err1, err2, err3); err != nil {
		log.Fatal(err)
	}
	fmt.Println("same tenant and SKU:", one == two)
	fmt.Println("another tenant:", one == other)
	// Output:
	// same tenant and SKU: true
	// another tenant: false
}

// A key of one's own: what is to go on one at a time is a customer's, whatever the task.
func ExampleKeyFunc() {
	customer := asynqmw.KeyFunc(func(_ context.Context, task *asynq.Task) (string, error) {
		name, _, found := strings.Cut(string(task.Payload()), ";")
		if !found {
			return "", fmt.Errorf("%w: no customer in %q", guard.ErrInvalidKey, task.Payload())
		}
		return guard.Key("customer", name), nil
	})
	for _, payload := range []string{"ada;invoice 7", "ada;reminder", "reminder"} {
		fmt.Println(customer(context.Background(), asynq.NewTask("mail:send", []byte(payload))))
	}
	// Output:
	// customer:ada <nil>
	// customer:ada <nil>
	//  invalid key: no customer in "reminder"
}

// A handler that goes on after its Timeout does not meet the retry of its own task.
func ExampleTaskID() {
	addr, stop := redistest.ForExample() // "localhost:6379"
	defer stop()
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = rdb.Close() }() // nothing is written any more
	g, err := guard.New(redisstore.New(rdb))
	if err != nil {
		log.Panic(err)
	}
	mw, err := asynqmw.New(g, asynqmw.TaskID())
	if err != nil {
		log.Panic(err)
	}
	encoded := make(chan bool)
	mux := asynq.NewServeMux()
	mux.Use(mw.Handler)
	mux.HandleFunc("video:encode", func(ctx context.Context, _ *asynq.Task) error {
		encoded <- guard.Holding(ctx, guard.Key("task", "default", "cat.mp4"))
		return nil
	})
	conn := asynq.RedisClientOpt{Addr: addr}
	server := asynq.NewServer(conn, mw.Config(asynq.Config{LogLevel: asynq.ErrorLevel}))
	if err := server.Start(mux); err != nil {
		log.Panic(err)
	}

	client := asynq.NewClient(conn)
	if _, err := client.Enqueue(asynq.NewTask("video:encode", nil), asynq.TaskID("cat.mp4")); err != nil {
		log.Panic(err)
	}
	fmt.Println("encoded under the task's own key:", <-encoded)
	server.Shutdown()
	fmt.Println(errors.Join(client.Close(), mw.Close(), g.Shutdown(context.Background())))
	// Output:
	// encoded under the task's own key: true
	// <nil>
}

// The misspelt field is noticed before the tasks run out of retries.
func ExampleOnKeyError() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	mw, err := asynqmw.New(g, asynqmw.PayloadField("order_id"), asynqmw.OnKeyError(func(_ context.Context, taskType string) {
		fmt.Println("no key:", taskType) // or count it in a metric
	}))
	if err != nil {
		log.Fatal(err)
	}
	ship := func(context.Context, *asynq.Task) error { return nil }
	handler := mw.Handler(asynq.HandlerFunc(ship))
	ctx := mw.Config(asynq.Config{}).BaseContext()

	err = handler.ProcessTask(ctx, asynq.NewTask("order:ship", []byte(`{"orderId": 42}`)))
	fmt.Println("failed:", errors.Is(err, guard.ErrInvalidKey), "key errors:", mw.KeyErrors())
	// Output:
	// no key: order:ship
	// failed: true key errors: 1
}
