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

func ExampleGuard_Shutdown() {
	nothing := func(context.Context) error { return nil }
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := g.Shutdown(ctx); err != nil { // before the Redis client is closed
		log.Print(err)
	}
	fmt.Println(errors.Is(g.Do(context.Background(), "k", nothing), guard.ErrClosed))
	// Output: true
}
