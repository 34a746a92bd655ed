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

// A key may be busy although nothing runs: MinHold keeps it closed, and it is known until when.
func ExampleError_keptClosed() {
	g, err := guard.New(guardtest.NewStore(), guard.MinHold(time.Minute), guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	nothing := func(context.Context) error { return nil }
	fmt.Println(g.Do(context.Background(), "nightly", nothing))
	err = g.Do(context.Background(), "nightly", nothing)

	var e *guard.Error
	if errors.Is(err, guard.ErrKeptClosed) && errors.As(err, &e) {
		fmt.Println("it has run; the next time in", e.RetryAfter.Round(time.Minute))
	}
	// Output:
	// <nil>
	// it has run; the next time in 1m0s
}
