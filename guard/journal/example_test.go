package journal_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
)

// A run that fails half-way is given to the handler of its kind, under the same key.
func Example() {
	g, err := guard.New(guardtest.NewStore()) // in production: redisstore.New(client)
	if err != nil {
		log.Fatal(err)
	}
	j, err := journal.New(g, guardtest.NewLog()) // redislog.New(client), or sqllog.New(db, dialect)
	if err != nil {
		log.Fatal(err)
	}
	compensated := make(chan string, 1)
	j.Handle("charge", func(_ context.Context, r journal.Record) error {
		compensated <- fmt.Sprintf("%s: %s after %q, give back what is there of %s", r.Key, r.Reason, r.Checkpoint, r.Payload)
		return nil
	})
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = j.Run(ctx) // until ctx ends
	}()

	err = j.Do(ctx, guard.Key("order", "42"), journal.Op{Kind: "charge", Payload: []byte("10 EUR")}, func(ctx context.Context) error {
		if err := journal.Checkpoint(ctx, []byte("card charged")); err != nil {
			return err
		}
		return errors.New("no stock")
	})
	fmt.Println(err)
	fmt.Println(<-compensated)
	stop()
	<-ended
	// Output:
	// no stock
	// order:42: failed after "card charged", give back what is there of 10 EUR
}

// A record whose handler fails for the last time is dead: a person decides.
func ExampleJournal_Dead() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	called := make(chan journal.Record, 1)
	j, err := journal.New(g, guardtest.NewLog(), journal.MaxAttempts(1), journal.OnDead(func(r journal.Record) { called <- r }))
	if err != nil {
		log.Fatal(err)
	}
	j.Handle("charge", func(context.Context, journal.Record) error { return errors.New("the bank says no") })
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	ended := make(chan struct{})
	go func() { defer close(ended); _ = j.Run(ctx) }()

	_ = j.Do(ctx, "order:42", journal.Op{Kind: "charge"}, func(context.Context) error { return errors.New("no stock") })
	id := (<-called).ID
	for r, err := range j.Dead(ctx) {
		fmt.Println(r.Key, r.Err, err)
	}
	fmt.Println(j.Drop(ctx, id)) // or Requeue
	fmt.Println(j.Drop(ctx, id))
	stop()
	<-ended
	// Output:
	// order:42 the bank says no <nil>
	// <nil>
	// journal: no such record
}
