package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleForever() {
	nothing := func(context.Context) error { return nil }
	once, err := guard.New(guardtest.NewStore(), guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	patient := once.With(guard.Forever())
	ctx, done := context.Background(), make(chan error)
	err = once.Do(ctx, "migrate", func(context.Context) error {
		fmt.Println("busy:", errors.Is(once.Do(ctx, "migrate", nothing), guard.ErrBusy))
		go func() {
			done <- patient.Do(ctx, "migrate", func(context.Context) error {
				fmt.Println("second run")
				return nil
			})
		}()
		fmt.Println("first run")
		return nil
	})
	fmt.Println(err, <-done)
	// Output:
	// busy: true
	// first run
	// second run
	// <nil> <nil>
}
