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

func ExampleMaxHold() {
	g, err := guard.New(guardtest.NewStore(), guard.MaxHold(50*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	err = g.Do(context.Background(), "export", func(ctx context.Context) error {
		<-ctx.Done() // work that hangs
		fmt.Println("cause:", errors.Is(context.Cause(ctx), guard.ErrMaxHold))
		return ctx.Err()
	})
	fmt.Println("error:", errors.Is(err, guard.ErrMaxHold))
	// Output:
	// cause: true
	// error: true
}
