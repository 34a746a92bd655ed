package cronwrap_test

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"os/signal"
	"syscall"
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
			stdlog.Fatal(err)
		}
		c := cron.New(cron.WithSeconds())
		jobs := cronwrap.New(c, g)
		if _, err := jobs.Add("* * * * * *", "invoices", func(ctx context.Context) error {
			ran <- fmt.Sprintf("%s, on the second: %t", cronwrap.Name(ctx), cronwrap.Tick(ctx).Nanosecond() == 0)
			return nil
		}); err != nil {
			stdlog.Fatal(err)
		}
		_, err = jobs.Add("@daily", "invoices", nothing)
		fmt.Println("a second job of that name:", errors.Is(err, cronwrap.ErrDuplicate))
		c.Start()
		replicas = append(replicas, jobs)
	}
	fmt.Println(<-ran)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, jobs := range replicas {
		if err := jobs.Shutdown(ctx); err != nil {
			stdlog.Print(err)
		}
	}
	// Output:
	// a second job of that name: true
	// a second job of that name: true
	// a second job of that name: true
	// invoices, on the second: true
}

// The program of the package's documentation. It has no Output: it is compiled
// and not run.
func Example_program() {
	g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: "localhost:6379"})))
	if err != nil {
		stdlog.Fatal(err)
	}
	c := cron.New()
	jobs := cronwrap.New(c, g)
	if _, err := jobs.Add("0 2 * * *", "invoices", sendInvoices); err != nil { // func(context.Context) error
		stdlog.Fatal(err)
	}
	c.Start()
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	<-stop.Done()
	last, cancelLast := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancelLast()
	stdlog.Print(jobs.Shutdown(last), g.Shutdown(last))
}

func sendInvoices(ctx context.Context) error {
	stdlog.Print("invoices of ", cronwrap.Tick(ctx))
	return nil
}
