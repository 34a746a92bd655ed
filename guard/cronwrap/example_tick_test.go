package cronwrap_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// every is a schedule with ticks at the multiples of a time, which may be less than a second.
type every time.Duration

func (d every) Next(t time.Time) time.Time { return t.Truncate(time.Duration(d)).Add(time.Duration(d)) }

// begun has the store remember that a replica, which is gone, began the job at tick.
func begun(store *guardtest.Store, job string, tick time.Time) error {
	r := lease.TickRequest{Key: job, Owner: store.NewOwner(""), At: tick, MaxAhead: -1, Fence: 1}
	_, err := store.ClaimTick(context.Background(), r)
	return err
}

// No replica has run for three days.
func ExampleCatchUp() {
	store := guardtest.NewStore()
	midnight := time.Now().UTC().Truncate(24 * time.Hour)
	if err := begun(store, "invoices", midnight.AddDate(0, 0, -3)); err != nil {
		log.Fatal(err)
	}

	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	c := cron.New(cron.WithLocation(time.UTC))
	jobs, err := cronwrap.New(c, g)
	if err != nil {
		log.Fatal(err)
	}
	ran := make(chan time.Time, 10)
	if _, err := jobs.Add("@daily", "invoices", func(ctx context.Context) error {
		ran <- cronwrap.Tick(ctx)
		return nil
	}, cronwrap.CatchUp(2, 7*24*time.Hour)); err != nil {
		log.Fatal(err)
	}
	c.Start()
	first, second := <-ran, <-ran
	fmt.Println("invoices of", first.Format("15:04"), "and a day later:", second.Sub(first) == 24*time.Hour)
	fmt.Println(jobs.Shutdown(context.Background()))
	// Output:
	// invoices of 00:00 and a day later: true
	// <nil>
}

// The replica that ran the job at midnight has died.
func ExampleAtLeastOnce() {
	store := guardtest.NewStore()
	midnight := time.Now().UTC().Truncate(24 * time.Hour)
	if err := begun(store, "invoices", midnight); err != nil {
		log.Fatal(err)
	}

	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	c := cron.New(cron.WithLocation(time.UTC))
	jobs, err := cronwrap.New(c, g)
	if err != nil {
		log.Fatal(err)
	}
	ran := make(chan string, 10)
	if _, err := jobs.Add("@daily", "invoices", func(ctx context.Context) error {
		ran <- fmt.Sprintf("midnight: %t, attempt %d", cronwrap.Tick(ctx).Equal(midnight), cronwrap.Attempt(ctx))
		return nil
	}, cronwrap.AtLeastOnce(48*time.Hour)); err != nil {
		log.Fatal(err)
	}
	c.Start()
	fmt.Println(<-ran)
	fmt.Println(jobs.Shutdown(context.Background()))
	// Output:
	// midnight: true, attempt 2
	// <nil>
}

// The replica that ran the job at midnight has died, and that was its last attempt.
func ExampleMaxAttempts() {
	store := guardtest.NewStore()
	if err := begun(store, "invoices", time.Now().UTC().Truncate(24*time.Hour)); err != nil {
		log.Fatal(err)
	}

	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	reported := make(chan *cronwrap.Error, 10)
	c := cron.New(cron.WithLocation(time.UTC))
	jobs, err := cronwrap.New(c, g, cronwrap.OnError(func(e *cronwrap.Error) { reported <- e }))
	if err != nil {
		log.Fatal(err)
	}
	invoice := func(context.Context) error { return nil }
	if _, err := jobs.Add("@daily", "invoices", invoice, cronwrap.AtLeastOnce(48*time.Hour), cronwrap.MaxAttempts(1)); err != nil {
		log.Fatal(err)
	}
	c.Start()
	e := <-reported
	fmt.Println(e.Name, "of", e.Tick.Format("15:04"), "given up:", errors.Is(e, cronwrap.ErrDead))
	fmt.Println(jobs.Shutdown(context.Background()))
	// Output:
	// invoices of 00:00 given up: true
	// <nil>
}

// The first run lasts longer than to the next tick, which waits for it; without the option that one
// would be dropped.
func ExampleOverlapWait() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	c := cron.New()
	jobs, err := cronwrap.New(c, g)
	if err != nil {
		log.Fatal(err)
	}
	const period = 300 * time.Millisecond
	ticks, ended := make(chan time.Time, 100), make(chan time.Time, 1)
	var began atomic.Bool
	if _, err := jobs.AddSchedule(every(period), "import", func(ctx context.Context) error {
		ticks <- cronwrap.Tick(ctx)
		if !began.Swap(true) {
			time.Sleep(4 * period)
			ended <- time.Now()
		}
		return nil
	}, cronwrap.OverlapWait()); err != nil {
		log.Fatal(err)
	}
	c.Start()
	<-ticks
	second := <-ticks
	fmt.Println("the second run's tick was during the first:", second.Before(<-ended))
	fmt.Println(jobs.Shutdown(context.Background()))
	// Output:
	// the second run's tick was during the first: true
	// <nil>
}

// leases is a store that remembers no ticks.
type leases struct{ lease.Store }

func ExampleMutualExclusion() {
	g, err := guard.New(leases{guardtest.NewStore()})
	if err != nil {
		log.Fatal(err)
	}
	jobs, err := cronwrap.New(cron.New(), g)
	if err != nil {
		log.Fatal(err)
	}
	_, err = jobs.Add("@hourly", "sweep", func(context.Context) error { return nil })
	fmt.Println("once per tick needs more:", errors.Is(err, cronwrap.ErrNoTicks))
	_, err = jobs.Add("@hourly", "sweep", func(ctx context.Context) error {
		fmt.Println("alone:", guard.Holding(ctx, "sweep"))
		return nil
	}, cronwrap.MutualExclusion())
	fmt.Println(err, jobs.RunNow(context.Background(), "sweep"))
	// Output:
	// once per tick needs more: true
	// alone: true
	// <nil> <nil>
}

// behind is a store whose clock is an hour behind this machine's.
type behind struct{ *guardtest.Store }

func (b behind) ClaimTick(ctx context.Context, r lease.TickRequest) (lease.TickReply, error) {
	r.At = r.At.Add(time.Hour)
	return b.Store.ClaimTick(ctx, r)
}

// One of the two clocks is wrong. A tick of a time to come would keep all earlier ones
// from running.
func ExampleMaxSkew() {
	g, err := guard.New(behind{guardtest.NewStore()})
	if err != nil {
		log.Fatal(err)
	}
	reported := make(chan *cronwrap.Error, 100)
	c := cron.New()
	jobs, err := cronwrap.New(c, g, cronwrap.MaxSkew(10*time.Second), cronwrap.OnError(func(e *cronwrap.Error) { reported <- e }))
	if err != nil {
		log.Fatal(err)
	}
	invoice := func(context.Context) error { return nil }
	if _, err := jobs.AddSchedule(every(100*time.Millisecond), "invoices", invoice); err != nil {
		log.Fatal(err)
	}
	c.Start()
	e := <-reported
	fmt.Println(e.Name, "did not run, for the clocks:", errors.Is(e, cronwrap.ErrSkew))
	fmt.Println(jobs.Shutdown(context.Background()))
	// Output:
	// invoices did not run, for the clocks: true
	// <nil>
}

// After an outage each job has a tick to make up for. They take turns, so that the
// database has one of them at a time.
func ExampleBackfills() {
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	c := cron.New(cron.WithLocation(time.UTC))
	jobs, err := cronwrap.New(c, g, cronwrap.Backfills(1))
	if err != nil {
		log.Fatal(err)
	}
	midnight := time.Now().UTC().Truncate(24 * time.Hour)
	var running atomic.Int32
	alone := make(chan bool, 10)
	for _, job := range []string{"invoices", "reports", "statistics"} {
		if err := begun(store, job, midnight.AddDate(0, 0, -1)); err != nil {
			log.Fatal(err)
		}
		if _, err := jobs.Add("@daily", job, func(context.Context) error {
			alone <- running.Add(1) == 1
			time.Sleep(20 * time.Millisecond)
			running.Add(-1)
			return nil
		}, cronwrap.CatchUp(1, 7*24*time.Hour)); err != nil {
			log.Fatal(err)
		}
	}
	c.Start()
	fmt.Println(<-alone, <-alone, <-alone)
	fmt.Println(jobs.Shutdown(context.Background()))
	// Output:
	// true true true
	// <nil>
}

func ExampleOnError() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	reported := make(chan *cronwrap.Error, 10)
	c := cron.New()
	jobs, err := cronwrap.New(c, g, cronwrap.OnError(func(e *cronwrap.Error) { reported <- e }))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := jobs.AddSchedule(every(time.Second), "invoices", func(context.Context) error { panic("no paper") }); err != nil {
		log.Fatal(err)
	}
	c.Start()
	e := <-reported
	var p *cronwrap.PanicError
	if errors.As(e, &p) {
		fmt.Println(e.Name, "panicked:", p.Value)
	}
	fmt.Println(jobs.Shutdown(context.Background()))
	// Output:
	// invoices panicked: no paper
	// <nil>
}
