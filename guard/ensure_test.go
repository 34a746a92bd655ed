package guard_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestEnsureLooksAtEveryKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, gone := range []string{"a", "b", "c"} {
			store := guardtest.NewStore()
			_ = newGuard(t, store).DoAll(t.Context(), []string{"a", "b", "c"}, func(ctx context.Context) error {
				time.Sleep(time.Millisecond)
				store.Expire(gone)
				err := guard.Ensure(ctx, 9*time.Second)
				var e *guard.Error
				if !errors.Is(err, guard.ErrLost) || !errors.As(err, &e) || e.Key != gone {
					t.Errorf("Ensure() = %v, want ErrLost of %s", err, gone)
				}
				return nil
			})
		}
	})
}

func TestEnsureRenewsNowIfNeedBe(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			time.Sleep(8 * time.Second)
			if err := guard.Ensure(ctx, 10*time.Second); err != nil || store.Calls(guardtest.OpRenew) != 0 {
				t.Errorf("Ensure(10s) = %v after %d renewals, want none needed", err, store.Calls(guardtest.OpRenew))
			}
			if err := guard.Ensure(ctx, 25*time.Second); err != nil || store.Calls(guardtest.OpRenew) != 1 {
				t.Errorf("Ensure(25s) = %v after %d renewals, want one", err, store.Calls(guardtest.OpRenew))
			}
			if err := guard.Ensure(ctx, time.Hour); !errors.Is(err, guard.ErrUnproven) || ctx.Err() != nil {
				t.Errorf("Ensure(1h) = %v, ctx %v: want ErrUnproven without a loss", err, ctx.Err())
			}
			store.Expire("k")
			time.Sleep(time.Millisecond)
			if err := guard.Ensure(ctx, 27*time.Second); !errors.Is(err, guard.ErrLost) || ctx.Err() == nil {
				t.Errorf("Ensure() = %v, ctx %v after the key is gone", err, ctx.Err())
			}
			return nil
		})
		wantError(t, err, guard.ErrLost)
	}, guard.TTL(30*time.Second))
}

func TestEnsureSaysWhyItCannotBeProven(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		down := errors.New("down")
		noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
			time.Sleep(2 * time.Second)
			store.Fail(down)
			err := guard.Ensure(ctx, 8*time.Second)
			if !errors.Is(err, guard.ErrUnproven) || errors.Is(err, guard.ErrLost) || !errors.Is(err, down) || ctx.Err() != nil {
				t.Errorf("Ensure() = %v, ctx %v", err, ctx.Err())
			}
			store.Fail(nil)
			return nil
		}))
	})
}

func TestEnsureIgnoresAnOuterRunThatHasEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		var leaked context.Context
		_ = g.Do(t.Context(), "outer", func(ctx context.Context) error {
			leaked = context.WithoutCancel(ctx) //nolint:fatcontext // leaking it is the point
			return nil
		})
		wantError(t, guard.Ensure(leaked, time.Second), guard.ErrLost)
		err := g.Do(leaked, "inner", func(ctx context.Context) error {
			return guard.Ensure(ctx, time.Second)
		})
		if err != nil {
			t.Errorf("Ensure() = %v: the run that goes on holds its lease", err)
		}
	})
}

func TestEnsureOnASilentStoreIsNotTheCallersDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
			time.Sleep(2 * time.Second)
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew, Times: 1}) // no answer
			err := guard.Ensure(ctx, 8*time.Second)
			wantError(t, err, guard.ErrUnproven)
			if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
				t.Errorf("Ensure() = %v, ctx %v: the caller's context goes on", err, ctx.Err())
			}
			ended, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew, Times: 1})
			wantError(t, guard.Ensure(ended, 9*time.Second-time.Millisecond), context.DeadlineExceeded)
			return nil
		}))
	})
}
