package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// A Do within fn, under the same key and with fn's ctx, runs under the lease that is
// there. With another ctx it is a run of its own, for which the key is held.
func ExampleGuard_Do_nested() {
	g, err := guard.New(guardtest.NewStore(), guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	pack := func(ctx context.Context) error {
		return g.Do(ctx, "order:42", func(context.Context) error {
			fmt.Println("packing")
			return nil
		})
	}
	err = g.Do(context.Background(), "order:42", func(ctx context.Context) error {
		fmt.Println("fn's ctx:", pack(ctx))
		fmt.Println("another ctx is busy:", errors.Is(pack(context.Background()), guard.ErrBusy))
		return nil
	})
	fmt.Println(err)
	// Output:
	// packing
	// fn's ctx: <nil>
	// another ctx is busy: true
	// <nil>
}
