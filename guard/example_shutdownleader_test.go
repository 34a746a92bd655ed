package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// Shutdown ends a leader's context at once, and waits until it has given the lead back.
func ExampleGuard_Shutdown_leader() {
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	leading, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- g.Lead(context.Background(), "outbox-relay", func(ctx context.Context) error {
			close(leading)
			<-ctx.Done() // relay until then
			return nil
		})
	}()
	<-leading
	fmt.Println(g.Shutdown(context.Background()))
	fmt.Println("keys held:", len(store.Keys()))
	fmt.Println("Lead closed:", errors.Is(<-ended, guard.ErrClosed))
	// Output:
	// <nil>
	// keys held: 0
	// Lead closed: true
}
