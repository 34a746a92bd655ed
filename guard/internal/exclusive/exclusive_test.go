package exclusive_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/internal/exclusive"
)

// Who takes a lost lease for a shared one gives up order, or an attempt, that it need not.
func TestALostLeaseIsNotTakenForASharedOne(t *testing.T) {
	type answer struct{ exclusive, known bool }
	for name, c := range map[string]struct {
		opts []guard.Option
		lost bool
		want answer
	}{
		"exclusive":           {nil, false, answer{true, true}},
		"exclusive, and lost": {nil, true, answer{false, false}},
		"limit":               {[]guard.Option{guard.Limit(2)}, false, answer{false, true}},
		"limit, and lost":     {[]guard.Option{guard.Limit(2)}, true, answer{false, false}},
		"shared":              {[]guard.Option{guard.Shared()}, false, answer{false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				g, err := guard.New(store, c.opts...)
				if err != nil {
					t.Fatal(err)
				}
				err = g.Do(t.Context(), "k", func(ctx context.Context) error {
					if c.lost {
						store.Break("k")
						<-ctx.Done()
					}
					before := store.Calls(guardtest.OpRenew)
					if e, known := exclusive.Run(ctx, "k"); (answer{e, known}) != c.want {
						t.Errorf("exclusive, known: %t, %t, want %+v", e, known, c.want)
					}
					if n := store.Calls(guardtest.OpRenew) - before; n > 0 {
						t.Errorf("it asked the store %d times", n)
					}
					return nil
				})
				if err = errors.Join(err, g.Shutdown(t.Context())); errors.Is(err, guard.ErrLost) != c.lost || err != nil && !c.lost {
					t.Error(err)
				}
			})
		})
	}
}
