package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleOnLeadError() {
	errBroken := errors.New("the outbox is corrupt")
	g, err := guard.New(guardtest.NewStore(), guard.OnLeadError(func(err error) (again bool) {
		fmt.Println("the term ended:", err)
		return !errors.Is(err, errBroken)
	}))
	if err != nil {
		log.Fatal(err)
	}
	terms := []error{errors.New("connection reset"), errBroken}
	err = g.Lead(context.Background(), "outbox-relay", func(context.Context) error {
		err := terms[0]
		terms = terms[1:]
		return err
	})
	fmt.Println("Lead returned:", err)
	// Output:
	// the term ended: connection reset
	// the term ended: the outbox is corrupt
	// Lead returned: the outbox is corrupt
}
