package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// onEvent is an adapter: unless g says otherwise, an event whose key is held is
// left to the broker to deliver again.
func onEvent(g *guard.Guard, handle func(context.Context) error) func(id string) error {
	g = g.With(guard.Fallback(guard.Wait(0), guard.Name("events")))
	return func(id string) error {
		return g.Do(context.Background(), guard.Key("event", id), handle)
	}
}

func ExampleFallback() {
	g, err := guard.New(guardtest.NewStore(), guard.Name("billing"), guard.Observe(names{}))
	if err != nil {
		log.Fatal(err)
	}
	var receive func(id string) error
	receive = onEvent(g, func(context.Context) error {
		fmt.Println("the same event, busy:", errors.Is(receive("1"), guard.ErrBusy))
		return nil
	})
	fmt.Println(receive("1"))
	// Output:
	// name: billing
	// name: billing
	// the same event, busy: true
	// <nil>
}

type names struct{ guard.ObserverDefaults }

func (names) AcquireEnd(_ context.Context, a guard.AcquireEnd) { fmt.Println("name:", a.Name) }
