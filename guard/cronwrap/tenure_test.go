package cronwrap

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// Under a guard that several may share nothing is repeated. A lease that is lost is no such.
func TestALostLeaseDoesNotEndRepetition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g, err := guard.New(store)
		if err != nil {
			t.Fatal(err)
		}
		j := &job{name: "k", ticks: store}
		err = g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Break("k")
			<-ctx.Done()
			return (&tenure{job: j}).serve(ctx)
		})
		if err = errors.Join(err, g.Shutdown(t.Context())); !errors.Is(err, guard.ErrLost) {
			t.Error(err)
		}
		if j.shared.Load() {
			t.Error("the guard counts as shared")
		}
	})
}
