package redisstore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// The lease is a string under the prefix and the key. Its value names the owner.
func ExamplePrefix() {
	addr, stop := redistest.ForExample() // "localhost:6379"
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = client.Close() }() // nothing is written any more
	g, err := guard.New(redisstore.New(client, redisstore.Prefix("shop:"), redisstore.Owner("host-1")))
	if err != nil {
		log.Panic(err)
	}
	err = g.Do(context.Background(), guard.Key("order", "42"), func(ctx context.Context) error {
		value, err := client.Get(ctx, "shop:order:42").Result()
		fmt.Println("held by", lease.OwnerName(value))
		return err
	})
	fmt.Println(err, g.Shutdown(context.Background()))
	// Output:
	// held by host-1
	// <nil> <nil>
}
