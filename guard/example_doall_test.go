package guard_test

import (
	"context"
	"errors"
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

// Inside a run, keys that sort before one that is held are refused: another process
// may hold them and wait for that one.
func ExampleGuard_DoAll_order() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	err = g.Do(context.Background(), "b", func(ctx context.Context) error {
		return g.DoAll(ctx, []string{"a", "c"}, func(context.Context) error { return nil })
	})
	fmt.Println(errors.Is(err, guard.ErrOrder))
	// Output: true
}
