package guard_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleAsyncRelease() {
	store := guardtest.NewStore()
	g, err := guard.New(store, guard.AsyncRelease())
	if err != nil {
		log.Fatal(err)
	}
	store.Delay(time.Second) // the way to the store and back
	began := time.Now()
	err = g.Do(context.Background(), "thumbnail:42", func(context.Context) error { return nil })
	fmt.Println("waited for one answer, not two:", time.Since(began) < 2*time.Second, err)

	err = g.Shutdown(context.Background()) // waits for the other
	fmt.Println("keys held:", len(store.Keys()), err)
	// Output:
	// waited for one answer, not two: true <nil>
	// keys held: 0 <nil>
}
