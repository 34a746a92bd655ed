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

// An operator, in another process, tells a run to stop. Revoke returns when the run's
// process has said that it was told; the key is free when fn has returned.
func ExampleStore_Revoke() {
	addr, stop := redistest.ForExample() // "localhost:6379"
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = client.Close() }() // nothing is written any more
	g, err := guard.New(redisstore.New(client))
	if err != nil {
		log.Panic(err)
	}
	running, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- g.Do(context.Background(), "nightly-report", func(ctx context.Context) error {
			close(running)
			<-ctx.Done()
			return nil
		})
	}()
	<-running
	operator := redisstore.New(client)
	fmt.Println(operator.Revoke(context.Background(), "nightly-report", "hangs, Ada"))
	err = <-ended
	fmt.Println(errors.Is(err, guard.ErrRevoked), err)
	fmt.Println(g.Shutdown(context.Background()))
	// Output:
	// <nil>
	// true guard: do "nightly-report": revoked: the holder was told to stop: hangs, Ada
	// <nil>
}
