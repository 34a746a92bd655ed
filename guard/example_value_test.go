package guard_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleValue() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	total, err := guard.Value(context.Background(), g, "report", func(context.Context) (int, error) {
		return 42, nil
	})
	fmt.Println(total, err)
	// Output: 42 <nil>
}
