package stop_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard/stop"
)

// A step that does not end in its time is left behind: those after it still run.
func ExampleSteps_Stop() {
	never := make(chan struct{})
	defer close(never)
	prints := func(what string) func(context.Context) error {
		return func(context.Context) error {
			fmt.Println(what)
			return nil
		}
	}
	steps := stop.New(25 * time.Second) // Kubernetes kills after 30 s
	steps.Add("http", func(context.Context) error {
		<-never // a step that does not heed its context
		return nil
	}, stop.Budget(50*time.Millisecond))
	steps.Add("guard", prints("guard shut down"))
	steps.Add("redis", prints("client closed"))

	err := steps.Stop()
	fmt.Println("late:", errors.Is(err, stop.ErrLate))
	// Output:
	// guard shut down
	// client closed
	// late: true
}
