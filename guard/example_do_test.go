package guard_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleGuard_Do() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	err = g.Do(context.Background(), "report", func(ctx context.Context) error {
		fmt.Println("holding:", guard.Holding(ctx, "report"))
		return nil
	})
	fmt.Println("error:", err)
	// Output:
	// holding: true
	// error: <nil>
}
