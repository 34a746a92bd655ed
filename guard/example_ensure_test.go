package guard_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleEnsure() {
	g, err := guard.New(guardtest.NewStore(), guard.TTL(10*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	err = g.Do(context.Background(), "payout", func(ctx context.Context) error {
		// The transfer takes three seconds and cannot be taken back.
		if err := guard.Ensure(ctx, 3*time.Second); err != nil {
			return err // ErrLost or ErrUnproven: do not begin
		}
		fmt.Println("transferring")
		return nil
	})
	fmt.Println(err)
	// Output:
	// transferring
	// <nil>
}
