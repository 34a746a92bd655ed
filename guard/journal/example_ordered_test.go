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

// A run begins when what failed before it, under its key, has been compensated. No
// sweeper runs here.
func ExampleOrdered() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	j, err := journal.New(g, guardtest.NewLog(), journal.Ordered())
	if err != nil {
		log.Fatal(err)
	}
	j.Handle("charge", func(_ context.Context, r journal.Record) error {
		fmt.Printf("give back %s: %s\n", r.Payload, r.Err)
		return nil
	})
	charge := func(amount string, result error) error {
		return j.Do(context.Background(), "account:7", journal.Op{Kind: "charge", Payload: []byte(amount)}, func(context.Context) error {
			fmt.Println("charge", amount)
			return result
		})
	}
	fmt.Println(charge("10 EUR", errors.New("no stock")))
	fmt.Println(charge("20 EUR", nil))
	// Output:
	// charge 10 EUR
	// no stock
	// give back 10 EUR: no stock
	// charge 20 EUR
	// <nil>
}
