package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// releases sends along which release of the program holds a key, and prints it where
// the key was found held.
type releases struct {
	guard.ObserverDefaults
	mine string
}

func (r releases) Metadata(context.Context) string { return r.mine }

func (r releases) AcquireEnd(_ context.Context, a guard.AcquireEnd) {
	if a.Contended {
		fmt.Println(r.mine, "met", a.HolderMetadata)
	}
}

func ExampleMetadataSource() {
	store := guardtest.NewStore()
	older, err := guard.New(store, guard.Observe(releases{mine: "v1.8"}))
	if err != nil {
		log.Fatal(err)
	}
	newer, err := guard.New(store, guard.Wait(0), guard.Observe(releases{mine: "v1.9"}))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	err = older.Do(ctx, "reindex", func(context.Context) error {
		return newer.Do(ctx, "reindex", nothing) // stands for another process
	})
	fmt.Println("busy:", errors.Is(err, guard.ErrBusy))
	// Output:
	// v1.9 met v1.8
	// busy: true
}
