package guard_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// A run under several keys has a token for each of them.
func ExampleFenceOf() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	err = g.DoAll(context.Background(), []string{"account:a", "account:b"}, func(ctx context.Context) error {
		_, ok := guard.Fence(ctx)
		fmt.Println("one token for the run:", ok)
		for _, account := range []string{"account:a", "account:b", "account:c"} {
			token, ok := guard.FenceOf(ctx, account)
			fmt.Println(account, ok, token > 0) // written along with the account's row
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// one token for the run: false
	// account:a true true
	// account:b true true
	// account:c false false
	// <nil>
}
