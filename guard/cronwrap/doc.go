// Package cronwrap runs the jobs of github.com/robfig/cron/v3 once per tick across
// all replicas of a fleet. Every replica runs this program:
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"os/signal"
//		"syscall"
//		"time"
//
//		"github.com/redis/go-redis/v9"
//		"github.com/robfig/cron/v3"
//
//		"github.com/jobguard/jobguard/guard"
//		"github.com/jobguard/jobguard/guard/cronwrap"
//		"github.com/jobguard/jobguard/guard/lease/redisstore"
//	)
//
//	func main() {
//		g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: "localhost:6379"})))
//		if err != nil {
//			log.Fatal(err)
//		}
//		c := cron.New()
//		jobs, err := cronwrap.New(c, g)
//		if err != nil {
//			log.Fatal(err)
//		}
//		if _, err := jobs.Add("0 2 * * *", "invoices", func(ctx context.Context) error {
//			log.Print("invoices of ", cronwrap.Tick(ctx))
//			return nil
//		}); err != nil {
//			log.Fatal(err)
//		}
//		c.Start()
//		stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
//		defer cancel()
//		<-stop.Done()
//		last, cancel := context.WithTimeout(context.Background(), 20*time.Second)
//		defer cancel()
//		log.Print(jobs.Shutdown(last), g.Shutdown(last))
//	}
//
// A tick is known by its scheduled time ([Tick]), the same in all replicas. A replica
// claims it in the store, under the job's key, before fn runs: runs do not overlap, and a
// tick runs at most once, also where clocks differ. [CatchUp] backfills ticks that no
// replica ran; with [AtLeastOnce] they, and those whose runner died, run at least once.
// A failover of the store to a replica without the last claim can repeat a tick.
//
// A lost lease ends ctx with cause guard.ErrLost. [OnError] gets errors and panics of fn,
// losses, outages, and ticks that were missed. [Runner.Shutdown] waits for runs, and
// cancels them when its context ends. A program that stops more than its jobs keeps order and
// time with package [github.com/jobguard/jobguard/guard/stop].
//
// Every case with its test, limits and goroutines:
// https://github.com/jobguard/jobguard/blob/main/docs/behaviour/cronwrap.md
package cronwrap
