package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// An operator tells a run to stop; on Redis with redisstore's Store.Revoke. The key is
// free when fn has returned.
func ExampleGuard_Do_revoked() {
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	running := make(chan struct{})
	go func() {
		<-running
		if err := store.Revoke("nightly-report", "hangs, Ada"); err != nil {
			log.Print(err)
		}
	}()
	err = g.Do(context.Background(), "nightly-report", func(ctx context.Context) error {
		close(running)
		<-ctx.Done()
		return nil
	})
	fmt.Println(errors.Is(err, guard.ErrRevoked), err)
	// Output:
	// true guard: do "nightly-report": revoked: the holder was told to stop: hangs, Ada
}
