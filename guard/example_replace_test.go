package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// A new deploy supersedes the one under way.
func ExampleReplace() {
	g, err := guard.New(guardtest.NewStore(), guard.Replace())
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	running, done := make(chan struct{}), make(chan error)
	go func() {
		done <- g.Do(ctx, "deploy", func(ctx context.Context) error {
			close(running)
			<-ctx.Done() // stops, and cleans up
			fmt.Println("v1 gives way")
			return nil
		})
	}()
	<-running
	err = g.Do(ctx, "deploy", func(context.Context) error {
		fmt.Println("v2 runs")
		return nil
	})
	fmt.Println(err, errors.Is(<-done, guard.ErrReplaced))
	// Output:
	// v1 gives way
	// v2 runs
	// <nil> true
}
