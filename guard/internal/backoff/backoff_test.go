package backoff_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
)

func TestPausesDoubleUpToTheLimit(t *testing.T) {
	const first, limit = 10 * time.Millisecond, time.Second
	for n, full := range map[int]time.Duration{1: first, 2: 2 * first, 5: 16 * first, 7: 64 * first, 8: limit, 100: limit, 1 << 30: limit} {
		for range 200 {
			if d := backoff.Pause(n, first, limit); d < full/2 || d > full {
				t.Fatalf("pause %d is %v, want %v to %v", n, d, full/2, full)
			}
		}
	}
	if d := backoff.Pause(1, time.Second, time.Millisecond); d > time.Millisecond {
		t.Errorf("%v is beyond the limit", d)
	}
}

func TestSleepEndsAfterItsTimeOrWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := backoff.Sleep(t.Context(), time.Second); err != nil || time.Since(start) != time.Second {
			t.Errorf("Sleep() = %v after %v", err, time.Since(start))
		}
		over := errors.New("over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, over)
		defer cancel()
		if err := backoff.Sleep(ctx, time.Hour); !errors.Is(err, over) || time.Since(start) != 2*time.Second {
			t.Errorf("Sleep() = %v after %v", err, time.Since(start))
		}
	})
}
