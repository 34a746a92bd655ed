package guard_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// bare is a store without optional abilities.
type bare struct{ lease.Store }

func TestHolderNamesWhoHasTheKey(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		if h, err := g.Holder(t.Context(), "k"); err != nil || h != (guard.Holder{}) {
			t.Errorf("free key: %+v, %v", h, err)
		}
		noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
			h, err := g.Holder(ctx, "k")
			if err != nil || h.Owner != "guardtest" || h.Process == "" || h.Remaining != 10*time.Second {
				t.Errorf("held key: %+v, %v", h, err)
			}
			return err
		}))
	})
}

func TestHolderFailsByName(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		down := errors.New("down")
		for name, c := range map[string]struct {
			g    *guard.Guard
			key  string
			err  error // of the store
			want error
		}{
			"empty key":           {g, "", nil, guard.ErrInvalidKey},
			"store down":          {g, "k", down, guard.ErrUnavailable},
			"store cannot say":    {newGuard(t, &bare{store}), "k", nil, guard.ErrUnavailable},
			"store never answers": {g, "k", nil, guard.ErrUnavailable},
		} {
			store.Fail(c.err)
			if name == "store never answers" {
				store.Inject(guardtest.Fault{Op: guardtest.OpFindHolder, Times: 1})
			}
			start := time.Now()
			_, err := c.g.Holder(t.Context(), c.key)
			if !errors.Is(err, c.want) || c.err != nil && !errors.Is(err, c.err) || time.Since(start) > 10*time.Second {
				t.Errorf("%s: %v after %v, want %v", name, err, time.Since(start), c.want)
			}
		}
	})
}
