package guard_test

import (
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// Values from configuration are checked before anything runs.
func ExampleNew() {
	store := guardtest.NewStore() // in a program: redisstore.New(client)
	_, err := guard.New(store, guard.TTL(10*time.Second), guard.Margin(6*time.Second))
	fmt.Println(err)
	_, err = guard.New(store, guard.TTL(10*time.Second), guard.Margin(2*time.Second))
	fmt.Println(err)
	// Output:
	// guard: Margin 6s is not less than TTL/2 = 5s
	// <nil>
}
