package redisstore_test

import (
	"context"
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// A service refuses to start on a server that does not keep leases, and logs the risks.
func ExampleCheck() {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	findings, err := redisstore.Check(ctx, client, redisstore.Prefix("shop:"), redisstore.ForTTL(5*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		if f.Severity == redisstore.Broken {
			log.Fatalf("%s: %s; to mend it: %s", f.Name, f.Why, f.Fix)
		}
		log.Printf("%s: %s: %s; to mend it: %s", f.Severity, f.Name, f.Why, f.Fix)
	}
}
