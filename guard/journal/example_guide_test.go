package journal_test

import (
	"context"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
)

func refund(context.Context, string) error       { return nil }
func bill(context.Context, string, []byte) error { return nil }
func newJournal() *journal.Journal               { return nil }

// What a charge needs: a handler that finds by the id what was done, the sweep on every
// replica, and the run itself.
func Example_charge() {
	j, ctx, id, order := newJournal(), context.Background(), "42", []byte("{}")
	var err error
	j.Handle("charge", func(ctx context.Context, r journal.Record) error { return refund(ctx, r.ID) }) // finds by the id what was done
	go j.Run(ctx)                                                                                      // on every replica
	err = j.Do(ctx, guard.Key("order", id), journal.Op{Kind: "charge", Payload: order}, func(ctx context.Context) error {
		return bill(ctx, journal.ID(ctx), order)
	})
	if err != nil {
		log.Fatal(err)
	}
}
