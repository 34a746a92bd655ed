package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// restock must be called under the lock of its sku.
func restock(ctx context.Context, sku string) error {
	if !guard.Holding(ctx, guard.Key("stock", sku)) {
		return errors.New("restock without the lock of " + sku)
	}
	return nil
}

func ExampleHolding() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	fmt.Println(restock(ctx, "tea"))
	fmt.Println(g.Do(ctx, guard.Key("stock", "tea"), func(ctx context.Context) error { return restock(ctx, "tea") }))
	// Output:
	// restock without the lock of tea
	// <nil>
}
