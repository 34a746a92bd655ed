package redisstore

import (
	"context"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// A client may make a context below that of a command, and leave a goroutine with it; a hook
// may keep the command.
func TestCommandIsUsedAgainOnlyIfNothingCanReferToIt(t *testing.T) {
	for name, test := range map[string]struct {
		send  sender
		hooks bool
		again bool
	}{
		"no context below": {func(ctx context.Context, _ []*op) { _, _ = ctx.Deadline() }, false, true},
		"a context below": {func(ctx context.Context, _ []*op) {
			_, cancel := context.WithCancel(ctx)
			cancel()
		}, false, false},
		"hooks": {func(context.Context, []*op) {}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := &batcher{send: test.send, reuse: !test.hooks}
			b.link.observe(time.Millisecond)
			a := lease.NewAttempt(time.Now().Add(time.Second))
			defer a.End()
			o := newOp("k", "get", "k")
			if taken, done := b.sendHere(a, o); !taken || !done {
				t.Fatalf("sendHere() = %v, %v", taken, done)
			}
			if o.here != test.again {
				t.Errorf("used again: %v, want %v", o.here, test.again)
			}
		})
	}
}
