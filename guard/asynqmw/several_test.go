package asynqmw

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/internal/redistest"
)

// Tasks of a key are put in order unless several may run. A worker whose lease was lost right
// after the grant, in a long pause, must not take that for such a guard.
func TestALostLeaseDoesNotEndTheOrderOfTasks(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	for name, c := range map[string]struct {
		opts          []guard.Option
		lost, several bool
	}{
		"exclusive":           {nil, false, false},
		"exclusive, and lost": {nil, true, false},
		"limit":               {[]guard.Option{guard.Limit(2)}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			store := guardtest.NewStore()
			g, err := guard.New(store, append(c.opts, guard.TTL(3*time.Second))...)
			if err != nil {
				t.Fatal(err)
			}
			m := &Middleware{}
			a := &attempt{
				id: "a", name: "a", queue: "q", key: "k", line: &line{redis: client},
				next: asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil }),
			}
			err = g.Do(t.Context(), "k", func(ctx context.Context) error {
				if c.lost {
					store.Break("k")
					<-ctx.Done()
				}
				return m.run(ctx, a)
			})
			if err = errors.Join(err, g.Shutdown(t.Context())); errors.Is(err, guard.ErrLost) != c.lost {
				t.Error(err)
			}
			if got := m.several.Load(); got != c.several {
				t.Errorf("several run: %t, want %t", got, c.several)
			}
		})
	}
}
