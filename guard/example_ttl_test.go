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

func ExampleTTL() {
	store := guardtest.NewStore()
	g, err := guard.New(store, guard.TTL(time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	err = g.Do(context.Background(), "import", func(context.Context) error {
		fmt.Println("a crash now blocks others for", store.Remaining("import").Round(time.Minute))
		return nil
	})
	fmt.Println("now for", store.Remaining("import"), err)
	// Output:
	// a crash now blocks others for 1m0s
	// now for 0s <nil>
}

func ExampleMargin() {
	// Of a minute's lease 20 s are kept back, so fn can rely on 40 s.
	g, err := guard.New(guardtest.NewStore(), guard.TTL(time.Minute), guard.Margin(20*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	err = g.Do(context.Background(), "import", func(ctx context.Context) error {
		fmt.Println("for 30 s:", guard.Ensure(ctx, 30*time.Second))
		fmt.Println("for 50 s, unproven:", errors.Is(guard.Ensure(ctx, 50*time.Second), guard.ErrUnproven))
		return nil
	})
	fmt.Println(err)
	// Output:
	// for 30 s: <nil>
	// for 50 s, unproven: true
	// <nil>
}
