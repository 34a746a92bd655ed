package guard_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleGuard_DoAll() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	from, to := guard.Key("account", "a"), guard.Key("account", "b")
	err = g.DoAll(context.Background(), []string{from, to}, func(ctx context.Context) error {
		fmt.Println("holding both:", guard.Holding(ctx, from) && guard.Holding(ctx, to))
		return nil
	})
	fmt.Println(err)
	// Output:
	// holding both: true
	// <nil>
}
