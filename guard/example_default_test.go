package guard_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleSetDefault() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	guard.SetDefault(g) // in main
	err = guard.Do(context.Background(), "k", func(ctx context.Context) error {
		fmt.Println(guard.Holding(ctx, "k"))
		return nil
	})
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}
