package redisstore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// Shows who holds a key. The store that asks needs the prefix of the service.
func ExampleStore_Inspect() {
	addr, stop := redistest.ForExample() // "localhost:6379"
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = client.Close() }() // nothing is written any more
	store := redisstore.New(client, redisstore.Owner("host-1"))
	g, err := guard.New(store)
	if err != nil {
		log.Panic(err)
	}
	err = g.Do(context.Background(), "nightly-report", func(ctx context.Context) error {
		i, err := store.Inspect(ctx, "nightly-report")
		if err != nil {
			return err
		}
		fmt.Println(i.Mode, "by", i.Holders[0].Owner, "waiting:", i.Waiting)
		i, err = store.Inspect(ctx, "weekly-report")
		fmt.Println(i.Mode, len(i.Holders))
		return err
	})
	fmt.Println(err, g.Shutdown(context.Background()))
	// Output:
	// exclusive by host-1 waiting: 0
	// free 0
	// <nil> <nil>
}
