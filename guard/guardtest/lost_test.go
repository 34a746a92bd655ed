package guardtest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// The test of the package documentation, word for word.
func TestImportStopsWhenLeaseIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g, err := guard.New(store)
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		err = g.Do(t.Context(), "import", func(ctx context.Context) error {
			time.AfterFunc(time.Minute, func() { store.Expire("import") })
			for ctx.Err() == nil { // your function; here one row a second
				rows++
				time.Sleep(time.Second)
			}
			return ctx.Err()
		})
		if !errors.Is(err, guard.ErrLost) {
			t.Errorf("Do() = %v, want ErrLost", err)
		}
		if rows < 60 || rows > 70 { // the next renewal finds out, within the TTL
			t.Errorf("imported %d rows, want to stop soon after the loss at 60", rows)
		}
	})
}
