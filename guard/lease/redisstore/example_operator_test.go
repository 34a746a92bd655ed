package redisstore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// A program for operators, who know the prefix of the service.
func ExampleStore_Inspect_operator() {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})

	store := redisstore.New(client) // the Prefix of the service
	i, err := store.Inspect(ctx, "nightly-report")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(i.Mode, i.Holders, i.Queue)
}
