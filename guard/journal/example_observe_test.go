package journal_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
)

// heard passes on what it hears.
type heard chan<- journal.Event

func (h heard) Happened(_ context.Context, e journal.Event) { h <- e }

// An observer hears what becomes of a run that failed. For metrics give an otelguard.Observer.
func ExampleObserve() {
	g, err := guard.New(guardtest.NewStore(), guard.Name("orders"))
	if err != nil {
		log.Fatal(err)
	}
	events := make(chan journal.Event, 100)
	j, err := journal.New(g, guardtest.NewLog(), journal.Observe(heard(events)))
	if err != nil {
		log.Fatal(err)
	}
	j.Handle("charge", func(context.Context, journal.Record) error { return nil })
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- j.Run(ctx) }()

	fmt.Println(j.Do(ctx, "order:42", journal.Op{Kind: "charge"}, func(context.Context) error { return errors.New("no stock") }))
	e := <-events
	fmt.Println(e.Kind, e.Name, e.Record.Kind, e.Record.Key, e.Record.Reason)
	stop()
	fmt.Println(<-ended)
	// Output:
	// no stock
	// compensated orders charge order:42 failed
	// context canceled
}
