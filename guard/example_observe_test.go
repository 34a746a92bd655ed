package guard_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// waits prints how long keys are waited for. It embeds ObserverDefaults, so that it
// goes on compiling when Observer grows.
type waits struct{ guard.ObserverDefaults }

func (waits) AcquireEnd(_ context.Context, a guard.AcquireEnd) {
	fmt.Printf("%s: waited %v, contended %v\n", a.Name, a.Waited.Round(time.Second), a.Contended)
}

func ExampleObserve() {
	g, err := guard.New(guardtest.NewStore(), guard.Observe(waits{}), guard.Name("orders"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.Do(context.Background(), "order:42", nothing))
	// Output:
	// orders: waited 0s, contended false
	// <nil>
}
