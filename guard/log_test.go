package guard_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestLogObserverWritesLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		store := guardtest.NewStore()
		g := newGuard(t, store, guard.Observe(guard.LogObserver(slog.New(slog.NewTextHandler(&out, nil)))))
		_ = g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Hold("k", "thief")
			<-ctx.Done()
			return nil
		})
		for _, want := range []string{"level=WARN", "guard: lost", "key=k", "thief"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in %q", want, out.String())
			}
		}
	})
}

func TestLogObserverWritesHoldersAndLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		store := guardtest.NewStore()
		log := guard.LogObserver(slog.New(slog.NewTextHandler(&out, nil)))
		g := newGuard(t, store, guard.Observe(log), guard.Name("orders"), guard.Wait(0))
		_ = g.Do(t.Context(), "k", func(context.Context) error {
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew, Err: errors.New("LOADING"), Times: 1})
			time.Sleep(5 * time.Second)
			return nil
		})
		store.Fail(errors.New("connection refused"))
		_ = g.Do(t.Context(), "k", nothing)
		store.Fail(nil)
		for _, want := range []string{
			`level=INFO msg="guard: renew failed" name=orders`,
			`level=WARN msg="guard: not acquired" name=orders`,
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in %q", want, out.String())
			}
		}
	})
}
