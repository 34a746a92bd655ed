package guard_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// A leader that cannot do its work gives another process the chance, and stands again.
func ExampleGuard_Lead_stepDown() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	diskFull := true
	err = g.Lead(context.Background(), "compaction", func(context.Context) error {
		if diskFull {
			fmt.Println("stepping down")
			diskFull = false // cleared while another process leads
			return guard.ErrStepDown
		}
		fmt.Println("compacting")
		return nil
	})
	fmt.Println(err)
	// Output:
	// stepping down
	// compacting
	// <nil>
}
