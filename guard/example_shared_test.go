package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleShared() {
	nothing := func(context.Context) error { return nil }
	g, err := guard.New(guardtest.NewStore(), guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	readers := g.With(guard.Shared())
	ctx := context.Background()
	err = readers.Do(ctx, "catalogue", func(context.Context) error {
		fmt.Println("another reader:", readers.Do(ctx, "catalogue", nothing))
		fmt.Println("a writer is busy:", errors.Is(g.Do(ctx, "catalogue", nothing), guard.ErrBusy))
		return nil
	})
	fmt.Println(err)
	// Output:
	// another reader: <nil>
	// a writer is busy: true
	// <nil>
}
