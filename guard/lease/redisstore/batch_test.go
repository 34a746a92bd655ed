package redisstore

import (
	"context"
	"errors"
	"testing"
	"time"
)

// giveUp has n commands wait behind a server that does not answer, and returns how
// long it takes a command, on average, to be given up.
func giveUp(t *testing.T, n int) time.Duration {
	t.Helper()
	release := make(chan struct{})
	b := &batcher{send: func(context.Context, []*op) { <-release }}
	stuck, cancelStuck := context.WithTimeout(t.Context(), time.Minute)
	defer cancelStuck()
	var flying []*op
	for range maxFlushers * maxBatch {
		o := newOp("k", "ping")
		b.submit(stuck, o)
		flying = append(flying, o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ops := make([]*op, n)
	for i := range ops {
		ops[i] = newOp("k", "ping")
	}
	b.submit(ctx, ops...)
	cancel()
	start := time.Now()
	for _, o := range ops {
		b.wait(ctx, o)
		if !errors.Is(o.outcome(), context.Canceled) {
			t.Fatalf("given up with %v", o.outcome())
		}
	}
	took := time.Since(start) / time.Duration(n)
	close(release)
	for _, o := range flying {
		b.wait(stuck, o)
	}
	for {
		b.mu.Lock()
		flushers, unsent := b.flushers, b.unsent.n
		b.mu.Unlock()
		if flushers == 0 {
			if unsent > 0 {
				t.Errorf("%d commands are left", unsent)
			}
			return took
		}
		time.Sleep(time.Millisecond)
	}
}

func TestGivingUpAnUnsentCommandCostsNoSearch(t *testing.T) {
	few, many := time.Hour, time.Hour
	for range 5 { // the best of some, as a machine may be busy
		few, many = min(few, giveUp(t, 2000)), min(many, giveUp(t, 50_000))
	}
	if many > 16*few { // a search made it 32 times
		t.Errorf("%v a command with 50 000 unsent, %v with 2 000", many, few)
	}
}
