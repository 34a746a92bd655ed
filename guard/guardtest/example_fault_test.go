package guardtest_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// The store is down, and comes back.
func ExampleStore_Fail() {
	store := guardtest.NewStore()
	g, err := guard.New(store, guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	importRows := func() error { // the function under test
		return g.Do(context.Background(), "import", func(context.Context) error {
			fmt.Println("importing")
			return nil
		})
	}
	store.Fail(errors.New("connection refused"))
	fmt.Println("unavailable:", errors.Is(importRows(), guard.ErrUnavailable))
	store.Fail(nil)
	fmt.Println(importRows())
	// Output:
	// unavailable: true
	// importing
	// <nil>
}

// The key is granted, and the reply is lost. The guard asks again, and has the key
// already: fn runs once.
func ExampleStore_Inject() {
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	store.Inject(guardtest.Fault{Op: guardtest.OpAcquire, Err: errors.New("connection reset"), Lost: true, Times: 1})
	err = g.Do(context.Background(), "import", func(context.Context) error {
		fmt.Println("importing")
		return nil
	})
	fmt.Println(err)
	fmt.Println("requests:", store.Calls(guardtest.OpAcquire))
	// Output:
	// importing
	// <nil>
	// requests: 2
}
