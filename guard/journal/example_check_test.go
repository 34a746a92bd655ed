package journal_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
)

// withoutInvoice finds the orders that are paid and have no invoice: a query.
func withoutInvoice(context.Context) ([]journal.Mismatch, error) {
	return []journal.Mismatch{{Kind: "invoice", Key: guard.Key("order", "42"), Text: "paid, no invoice"}}, nil
}

// What a check of the books finds is given to the handler of its kind.
func ExampleJournal_Check() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	j, err := journal.New(g, guardtest.NewLog())
	if err != nil {
		log.Fatal(err)
	}
	called := make(chan journal.Record, 100)
	j.Handle("invoice", func(_ context.Context, r journal.Record) error {
		called <- r // sends the invoice
		return nil
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- j.Run(ctx) }()
	go func() { ended <- j.Check(ctx, time.Second, withoutInvoice) }() // on every replica; one of them looks

	r := <-called
	fmt.Printf("%s %s: %s\n", r.Key, r.Reason, r.Err)
	stop()
	fmt.Println(<-ended)
	fmt.Println(<-ended)
	// Output:
	// order:42 mismatch: paid, no invoice
	// context canceled
	// context canceled
}
