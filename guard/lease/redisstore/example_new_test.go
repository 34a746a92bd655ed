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

// The processes of a service have one prefix, and each a name of its own.
func ExampleNew() {
	addr, stop := redistest.ForExample() // "localhost:6379"
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = client.Close() }() // nothing is written any more
	first, err := guard.New(redisstore.New(client, redisstore.Prefix("shop:"), redisstore.Owner("host-1")))
	if err != nil {
		log.Panic(err)
	}
	second, err := guard.New(redisstore.New(client, redisstore.Prefix("shop:"), redisstore.Owner("host-2")), guard.Wait(0))
	if err != nil {
		log.Panic(err)
	}
	ctx := context.Background()
	err = first.Do(ctx, "import", func(context.Context) error {
		err := second.Do(ctx, "import", func(context.Context) error { return nil }) // elsewhere, at the same time
		var busy *guard.Error
		if errors.Is(err, guard.ErrBusy) && errors.As(err, &busy) {
			fmt.Println("busy, held by", busy.Holder)
		}
		return nil
	})
	fmt.Println(err, errors.Join(first.Shutdown(ctx), second.Shutdown(ctx)))
	// Output:
	// busy, held by host-1
	// <nil> <nil>
}
