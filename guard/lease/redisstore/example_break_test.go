package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// An operator takes the key from a run that hangs and does not look at its context. The next
// one runs beside it, with a higher fencing token.
func ExampleStore_Break() {
	addr, stop := redistest.ForExample() // "localhost:6379"
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = client.Close() }() // nothing is written any more
	first, err := guard.New(redisstore.New(client))
	if err != nil {
		log.Panic(err)
	}
	second, err := guard.New(redisstore.New(client)) // another process
	if err != nil {
		log.Panic(err)
	}
	ctx := context.Background()
	running, hangs, ended := make(chan int64), make(chan struct{}), make(chan error)
	go func() {
		ended <- first.Do(ctx, "nightly-report", func(ctx context.Context) error {
			fence, _ := guard.Fence(ctx)
			running <- fence
			<-hangs
			return nil
		})
	}()
	before := <-running
	operator := redisstore.New(client)
	fmt.Println(operator.Break(ctx, "nightly-report"))
	err = second.Do(ctx, "nightly-report", func(ctx context.Context) error {
		fence, _ := guard.Fence(ctx)
		fmt.Println("next, with a higher token:", fence > before)
		return nil
	})
	close(hangs)
	fmt.Println(err, "lost:", errors.Is(<-ended, guard.ErrLost))
	fmt.Println(errors.Join(first.Shutdown(ctx), second.Shutdown(ctx)))
	// Output:
	// <nil>
	// next, with a higher token: true
	// <nil> lost: true
	// <nil>
}
