package cronwrap_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func Example() {
	store := guardtest.NewStore() // redisstore.New(client) in a real program
	ran := make(chan string, 100)
	var replicas []*cronwrap.Runner
	for range 3 {
		g, err := guard.New(store)
		if err != nil {
			log.Fatal(err)
		}
		c := cron.New(cron.WithSeconds())
		jobs, err := cronwrap.New(c, g)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := jobs.Add("* * * * * *", "invoices", func(ctx context.Context) error {
			ran <- fmt.Sprintf("%s, on the second: %t", cronwrap.JobName(ctx), cronwrap.Tick(ctx).Nanosecond() == 0)
			return nil
		}); err != nil {
			log.Fatal(err)
		}
		_, err = jobs.Add("@daily", "invoices", func(context.Context) error { return nil })
		fmt.Println("a second job of that name:", errors.Is(err, cronwrap.ErrDuplicate))
		c.Start()
		replicas = append(replicas, jobs)
	}
	fmt.Println(<-ran)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, jobs := range replicas {
		if err := jobs.Shutdown(ctx); err != nil {
			log.Print(err)
		}
	}
	// Output:
	// a second job of that name: true
	// a second job of that name: true
	// a second job of that name: true
	// invoices, on the second: true
}

func ExampleNew() {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379", ContextTimeoutEnabled: true})
	g, err := guard.New(redisstore.New(client))
	if err != nil {
		log.Fatal(err)
	}
	sendInvoices := func(context.Context) error { return nil }

	c := cron.New()
	jobs, err := cronwrap.New(c, g)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := jobs.Add("0 3 * * *", "invoices", sendInvoices); err != nil {
		log.Fatal(err)
	}
	c.Start()
}
