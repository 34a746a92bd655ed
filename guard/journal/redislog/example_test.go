package redislog_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/redislog"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// Leases and the log are on one server. A run that fails is open in the log until the
// handler of its kind has been called.
func ExampleNew() {
	addr, stop := redistest.ForExample() // "localhost:6379"
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = client.Close() }() // nothing is written any more
	g, err := guard.New(redisstore.New(client))
	if err != nil {
		log.Panic(err)
	}
	j, err := journal.New(g, redislog.New(client))
	if err != nil {
		log.Panic(err)
	}
	ctx := context.Background()
	for _, result := range []error{nil, errors.New("no stock")} {
		err := j.Do(ctx, "order:42", journal.Op{Kind: "charge"}, func(context.Context) error { return result })
		s, statsErr := j.Stats(ctx)
		fmt.Println("result:", err, "open:", s.Open, statsErr)
	}
	fmt.Println(g.Shutdown(ctx))
	// Output:
	// result: <nil> open: 0 <nil>
	// result: no stock open: 1 <nil>
	// <nil>
}
