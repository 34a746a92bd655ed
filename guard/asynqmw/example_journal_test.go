package asynqmw_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
)

// bank stands for a service that must act once per order.
type bank struct{ charges []string }

func (b *bank) paid(_ context.Context, order string) (bool, error) {
	for _, charged := range b.charges {
		if charged == order {
			return true, nil
		}
	}
	return false, nil
}

func (b *bank) charge(_ context.Context, order string) error {
	b.charges = append(b.charges, order)
	return nil
}

func orderOf(payload []byte) (string, error) {
	var p struct{ Order string }
	err := json.Unmarshal(payload, &p)
	return p.Order, err
}

// A task may be delivered again although it was done. Each delivery is a run with a
// journal.ID of its own, so it looks first, and the bank hears of the order, not of the run.
func Example_journal() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	j, err := journal.New(g.With(guard.Name("charges")), guardtest.NewLog())
	if err != nil {
		log.Fatal(err)
	}
	mw, err := asynqmw.New(g, asynqmw.PayloadField("order"))
	if err != nil {
		log.Fatal(err)
	}
	mux := asynq.NewServeMux()
	mux.Use(mw.Handler)
	bank := &bank{}

	settle := func(ctx context.Context, payload []byte) error {
		order, err := orderOf(payload)
		if err != nil {
			return err
		}
		if paid, err := bank.paid(ctx, order); err != nil || paid {
			return err // an earlier delivery, or the sweeper, has done it
		}
		return bank.charge(ctx, order) // under the order's id
	}
	j.Handle("charge", func(ctx context.Context, r journal.Record) error { return settle(ctx, r.Payload) })
	mux.HandleFunc("order:charge", func(ctx context.Context, task *asynq.Task) error {
		order, err := orderOf(task.Payload())
		if err != nil {
			return err
		}
		return j.Do(ctx, guard.Key("order", order), journal.Op{Kind: "charge", Payload: task.Payload()}, func(ctx context.Context) error {
			return settle(ctx, task.Payload())
		})
	})

	ctx := mw.Config(asynq.Config{}).BaseContext()
	for range 2 { // asynq could not store that the task was done
		fmt.Println(mux.ProcessTask(ctx, asynq.NewTask("order:charge", []byte(`{"order": "42"}`))))
	}
	fmt.Println("charged:", bank.charges)
	// Output:
	// <nil>
	// <nil>
	// charged: [42]
}
