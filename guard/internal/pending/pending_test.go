package pending_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/internal/pending"
)

func TestWaitReturnsWithTheLastEndOrItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c pending.Counter
		if n := c.Wait(t.Context()); n != 0 {
			t.Errorf("Wait() = %d before the first Begin", n)
		}
		c.Begin()
		c.Begin()
		start := time.Now()
		returned := make(chan time.Duration, 2)
		for range 2 {
			go func() {
				if n := c.Wait(context.Background()); n != 0 {
					t.Errorf("Wait() = %d after the last End", n)
				}
				returned <- time.Since(start)
			}()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if n := c.Wait(ctx); n != 2 || c.Left() != 2 {
			t.Errorf("Wait() = %d when its context ended, Left() = %d, want 2", n, c.Left())
		}
		c.End()
		time.Sleep(time.Second)
		c.End()
		for range 2 {
			if at := <-returned; at != 2*time.Second {
				t.Errorf("Wait returned after %v, want 2s", at)
			}
		}
	})
}
