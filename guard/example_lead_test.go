package guard_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleGuard_Lead() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	ctx, resign := context.WithTimeout(context.Background(), 20*time.Millisecond) // in a program, until it ends
	defer resign()
	err = g.With(guard.Name("outbox-relay")).Lead(ctx, "outbox-relay", func(ctx context.Context) error {
		fmt.Println("leading") // work until ctx ends; who returns nil leads no more
		<-ctx.Done()
		return ctx.Err()
	})
	fmt.Println(err)
	// Output:
	// leading
	// context deadline exceeded
}
