package guardtest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
)

// importRows is the function under test: it must stop when ctx ends.
func importRows(ctx context.Context) error {
	for range 1000 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond): // one row
		}
	}
	return nil
}

// Ends the lease while a function runs under it. In a test do this inside a
// [testing/synctest] bubble, as the package documentation shows: then it takes no
// time.
func Example() {
	store := guardtest.NewStore()
	g, err := guard.New(store, guard.TTL(300*time.Millisecond))
	if err != nil {
		panic(err)
	}
	err = g.Do(context.Background(), "import", func(ctx context.Context) error {
		store.Expire("import")
		return importRows(ctx)
	})
	fmt.Println("lost:", errors.Is(err, guard.ErrLost))
	fmt.Println("left behind:", store.Keys())
	// Output:
	// lost: true
	// left behind: []
}

// Makes another program hold the key, to test the caller of a busy key.
func ExampleStore_Hold() {
	store := guardtest.NewStore()
	store.Hold("import", "nightly backup")

	g, err := guard.New(store, guard.Wait(0))
	if err != nil {
		panic(err)
	}
	err = g.Do(context.Background(), "import", importRows)
	var busy *guard.Error
	fmt.Println(errors.Is(err, guard.ErrBusy), errors.As(err, &busy) && busy.Holder == "nightly backup")
	// Output:
	// true true
}

// Shows that a run which loses its lease half-way is compensated. In a test do this inside
// a [testing/synctest] bubble: then the waits take no time.
func ExampleLog() {
	store, log := guardtest.NewStore(), guardtest.NewLog()
	g, err := guard.New(store, guard.TTL(300*time.Millisecond))
	if err != nil {
		panic(err)
	}
	j, err := journal.New(g, log)
	if err != nil {
		panic(err)
	}
	j.Handle("import", func(_ context.Context, r journal.Record) error { // the handler under test
		fmt.Printf("%s: %s\n", r.Key, r.Reason)
		return nil
	})
	var id string
	err = j.Do(context.Background(), "rows", journal.Op{Kind: "import"}, func(ctx context.Context) error {
		id = journal.ID(ctx)
		store.Expire("rows")
		return importRows(ctx)
	})
	fmt.Println("lost:", errors.Is(err, guard.ErrLost), log.State(id))

	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = j.Run(ctx) }()
	for log.State(id) == "open" {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	<-ended
	fmt.Println(log.State(id))
	// Output:
	// lost: true open
	// rows: late
	// compensated
}
