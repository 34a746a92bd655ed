package guard_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleGuard_Holder() {
	store := guardtest.NewStore()
	store.HoldFor("deploy", "ci-runner-7", time.Minute)
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	h, err := g.Holder(context.Background(), "deploy")
	fmt.Println(h.Owner, h.Remaining.Round(time.Minute), err)
	h, err = g.Holder(context.Background(), "free")
	fmt.Printf("%q %v\n", h.Owner, err)
	// Output:
	// ci-runner-7 1m0s <nil>
	// "" <nil>
}
