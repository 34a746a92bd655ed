package guard_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// ledger is a resource that checks tokens: it refuses a write with one that is
// lower than the highest it has seen.
type ledger struct {
	mu      sync.Mutex
	highest int64
}

func (l *ledger) write(token int64, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if token < l.highest {
		fmt.Println("refused:", what)
		return
	}
	l.highest = token
	fmt.Println("written:", what)
}

func ExampleFence() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	var l ledger
	var late int64
	for _, run := range []string{"first run", "second run"} {
		err := g.Do(context.Background(), "account:7", func(ctx context.Context) error {
			token, _ := guard.Fence(ctx)
			l.write(token, run)
			if late == 0 {
				late = token // the first run is paused here, and goes on too late
			}
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	l.write(late, "first run, too late")
	// Output:
	// written: first run
	// written: second run
	// refused: first run, too late
}
