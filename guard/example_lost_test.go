package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// A lease that is lost ends fn's context, at the next renewal at the latest. The work may
// be partial, and another process may run.
func ExampleGuard_Do_lost() {
	store := guardtest.NewStore()
	g, err := guard.New(store, guard.TTL(time.Second))
	if err != nil {
		log.Fatal(err)
	}
	err = g.Do(context.Background(), "import", func(ctx context.Context) error {
		store.Expire("import") // as if an operator had deleted the key
		<-ctx.Done()
		fmt.Println("ctx lost:", errors.Is(context.Cause(ctx), guard.ErrLost))
		return nil
	})
	fmt.Println("Do lost:", errors.Is(err, guard.ErrLost))
	// Output:
	// ctx lost: true
	// Do lost: true
}
