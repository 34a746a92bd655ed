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

func ExampleWait() {
	store := guardtest.NewStore()
	store.HoldFor("import", "another host", time.Minute)
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	once := g.With(guard.Wait(0)) // try once
	err = once.Do(context.Background(), "import", func(context.Context) error {
		fmt.Println("importing")
		return nil
	})
	if errors.Is(err, guard.ErrBusy) {
		fmt.Println("another process imports: nothing to do")
	}
	// Output: another process imports: nothing to do
}
