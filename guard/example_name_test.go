package guard_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// runs counts runs by name: keys would be too many for a metric.
type runs struct {
	guard.ObserverDefaults
	of map[string]int
}

func (r runs) RunEnd(_ context.Context, e guard.RunEnd) { r.of[e.Name]++ }

func ExampleName() {
	count := runs{of: make(map[string]int)}
	g, err := guard.New(guardtest.NewStore(), guard.Observe(count))
	if err != nil {
		log.Fatal(err)
	}
	orders, invoices := g.With(guard.Name("orders")), g.With(guard.Name("invoices"))
	ctx := context.Background()
	fmt.Println(orders.Do(ctx, "order:42", nothing), orders.Do(ctx, "order:43", nothing), invoices.Do(ctx, "invoice:7", nothing))
	fmt.Println(count.of)
	// Output:
	// <nil> <nil> <nil>
	// map[invoices:1 orders:2]
}
