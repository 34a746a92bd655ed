package guard_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleGuard_Lead() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	err = g.With(guard.Name("outbox-relay")).Lead(ctx, "outbox-relay", func(ctx context.Context) error {
		fmt.Println("leading") // until the work is done or ctx ends
		return ctx.Err()
	})
	fmt.Println(err)
	// Output:
	// leading
	// <nil>
}
