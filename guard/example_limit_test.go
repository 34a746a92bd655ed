package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleLimit() {
	nothing := func(context.Context) error { return nil }
	g, err := guard.New(guardtest.NewStore(), guard.Limit(2), guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	err = g.Do(ctx, "partner-api", func(context.Context) error {
		return g.Do(ctx, "partner-api", func(context.Context) error { // ctx, not fn's: a second run
			err := g.Do(ctx, "partner-api", nothing)
			fmt.Println("the third is busy:", errors.Is(err, guard.ErrBusy))
			return nil
		})
	})
	fmt.Println(err)
	// Output:
	// the third is busy: true
	// <nil>
}
