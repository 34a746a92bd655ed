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

// Shows the orders that are worked on, and by whom.
func ExampleStore_List() {
	addr, stop := redistest.ForExample() // "localhost:6379"
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = client.Close() }() // nothing is written any more
	store := redisstore.New(client, redisstore.Owner("host-1"))
	g, err := guard.New(store)
	if err != nil {
		log.Panic(err)
	}
	err = g.DoAll(context.Background(), []string{"order:42", "order:43", "stock:tea"}, func(ctx context.Context) error {
		for i, err := range store.List(ctx, "order:*") {
			if err != nil {
				return err
			}
			fmt.Println(i.Key, i.Mode, i.Holders[0].Owner)
		}
		return nil
	})
	fmt.Println(err, g.Shutdown(context.Background()))
	// Unordered output:
	// order:42 exclusive host-1
	// order:43 exclusive host-1
	// <nil> <nil>
}
