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

func ExampleMinHold() {
	g, err := guard.New(guardtest.NewStore(), guard.MinHold(time.Minute), guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	// Replicas whose clocks differ by less than a minute start this once.
	for range 3 {
		err := g.Do(context.Background(), "nightly", func(context.Context) error {
			fmt.Println("running")
			return nil
		})
		fmt.Println("busy:", errors.Is(err, guard.ErrBusy))
	}
	// Output:
	// running
	// busy: false
	// busy: true
	// busy: true
}
