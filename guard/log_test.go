package guard_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestLogObserverWritesLossesHoldersAndLevels(t *testing.T) {
	var out bytes.Buffer
	log := guard.LogObserver(slog.New(slog.NewTextHandler(&out, nil)))
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		_ = g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew, Err: errors.New("LOADING"), Times: 1})
			time.Sleep(5 * time.Second)
			store.Hold("k", "thief")
			return untilDone(ctx)
		})
		store.Fail(errors.New("connection refused"))
		_ = g.Do(t.Context(), "k", nothing)
		store.Fail(nil)
	}, guard.Observe(log), guard.Name("orders"), guard.Wait(0))
	for _, want := range []string{
		`level=INFO msg="guard: renew failed" name=orders`,
		`level=WARN msg="guard: lost" name=orders key=k`, "thief",
		`level=WARN msg="guard: not acquired" name=orders`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
}
