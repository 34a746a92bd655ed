package cronwrap_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleRunner_RunNow() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	jobs, err := cronwrap.New(cron.New(), g)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := jobs.Add("0 2 * * *", "invoices", func(ctx context.Context) error {
		fmt.Println("holding:", guard.Holding(ctx, cronwrap.JobName(ctx)))
		return errors.New("no paper")
	}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(jobs.RunNow(context.Background(), "invoices"))
	fmt.Println(jobs.RunNow(context.Background(), "invoice"))
	// Output:
	// holding: true
	// no paper
	// cronwrap: there is no job "invoice"
}

func ExampleRunner_Jobs() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	c := cron.New(cron.WithLocation(time.UTC))
	jobs, err := cronwrap.New(c, g)
	if err != nil {
		log.Fatal(err)
	}
	work := func(context.Context) error { return nil }
	_, err1 := jobs.Add("30 2 * * *", "invoices", work)
	_, err2 := jobs.Add("0 4 * * *", "backup", work)
	if err := errors.Join(err1, err2); err != nil {
		log.Fatal(err)
	}
	c.Start()
	for _, job := range jobs.Jobs() {
		fmt.Println(job.Name, "at", job.Next.Format("15:04"), "has run:", !job.Began.IsZero())
	}
	fmt.Println(jobs.Shutdown(context.Background()))
	// Output:
	// backup at 04:00 has run: false
	// invoices at 02:30 has run: false
	// <nil>
}

// A run that comes due during another one is dropped.
func ExampleWrap() {
	store := guardtest.NewStore()
	replica := func(run func()) cron.Job {
		g, err := guard.New(store)
		if err != nil {
			log.Fatal(err)
		}
		return cron.NewChain(cronwrap.Wrap(g, "report")).Then(cron.FuncJob(run))
	}
	second := replica(func() { fmt.Println("second replica") })
	first := replica(func() {
		fmt.Println("first replica")
		second.Run()
		fmt.Println("first replica is done")
	})
	first.Run() // as cron does
	second.Run()
	// Output:
	// first replica
	// first replica is done
	// second replica
}

func ExampleOncePerLocalTime() {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		log.Fatal(err)
	}
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	c := cron.New(cron.WithLocation(newYork))
	jobs, err := cronwrap.New(c, g)
	if err != nil {
		log.Fatal(err)
	}
	work := func(context.Context) error { return nil }
	twice, err1 := jobs.Add("30 1 * * *", "report", work)
	once, err2 := jobs.Add("30 1 * * *", "invoices", work, cronwrap.OncePerLocalTime())
	if err := errors.Join(err1, err2); err != nil {
		log.Fatal(err)
	}
	midnight := time.Date(2026, 11, 1, 0, 0, 0, 0, newYork) // clocks are set back at 2:00
	for _, id := range []cron.EntryID{twice, once} {
		schedule := c.Entry(id).Schedule
		first := schedule.Next(midnight)
		fmt.Println(first.Format("Jan 2 15:04 MST"), "and", schedule.Next(first).Format("Jan 2 15:04 MST"))
	}
	// Output:
	// Nov 1 01:30 EDT and Nov 1 01:30 EST
	// Nov 1 01:30 EDT and Nov 2 01:30 EST
}
