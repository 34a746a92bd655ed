package journal_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
)

// A log that is full refuses runs. What fails stays open until its handler has been called,
// and none is here.
func ExampleMaxOpen() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	j, err := journal.New(g, guardtest.NewLog(), journal.MaxOpen(2))
	if err != nil {
		log.Fatal(err)
	}
	for _, key := range []string{"order:1", "order:2", "order:3"} {
		err := j.Do(context.Background(), key, journal.Op{Kind: "charge"}, func(context.Context) error {
			return errors.New("no stock")
		})
		fmt.Println(err)
		fmt.Println("full:", errors.Is(err, journal.ErrFull))
	}
	// Output:
	// no stock
	// full: false
	// no stock
	// full: false
	// journal: the log has as many open runs as it may have (2)
	// full: true
}
