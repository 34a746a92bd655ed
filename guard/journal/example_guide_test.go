package journal_test

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/redislog"
)

func refund(context.Context, string) error       { return nil }
func bill(context.Context, string, []byte) error { return nil }

// What a charge needs: a handler that finds by the id what was done, the sweep on every
// replica, and the run itself.
func Example_charge() {
	_ = func(ctx context.Context, g *guard.Guard, client redis.UniversalClient, id string, order []byte) error {
		records := redislog.New(client)                               // or sqllog.New, and its Migrate
		j, err := journal.New(g.With(guard.Name("charges")), records) // its name in metrics
		if err != nil {
			return err
		}
		j.Handle("charge", func(ctx context.Context, r journal.Record) error { return refund(ctx, r.ID) }) // finds by the id what was done
		go j.Run(ctx)                                                                                      // on every replica
		return j.Do(ctx, guard.Key("order", id), journal.Op{Kind: "charge", Payload: order}, func(ctx context.Context) error {
			return bill(ctx, journal.ID(ctx), order) // the id of this run, not of the order: see below
		})
	}
}
