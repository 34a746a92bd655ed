package guard_test

import (
	"context"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/internal/redistest"
)

// Three replicas are replaced one by one, the leader first each time.
func TestRedisRollingDeployHasALeaderAlmostAllTheTime(t *testing.T) {
	const most = 300 * time.Millisecond
	addr := redistest.Start(t).Addr()
	type term struct {
		began time.Time
		stop  func() // the replica that leads
	}
	terms := make(chan term, 10)
	replica := func() {
		g := onRedis(t, addr)
		led := make(chan error, 1)
		stop := func() {
			noError(t, g.Shutdown(t.Context()))
			wantError(t, <-led, guard.ErrClosed)
		}
		go func() {
			led <- g.Lead(context.Background(), "k", func(ctx context.Context) error {
				terms <- term{time.Now(), stop}
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		eventually(t, "the replica to lead or wait", func() bool { return guard.Left(g) > 0 })
	}
	for range 3 {
		replica()
	}
	leader := <-terms
	worst := stalls(t)
	var longest time.Duration
	for range 3 {
		replica()
		start := time.Now()
		leader.stop()
		select {
		case leader = <-terms:
			longest = max(longest, leader.began.Sub(start))
		case <-time.After(30 * time.Second):
			t.Fatal("nobody leads")
		}
	}
	t.Logf("without a leader for %v at most, from the beginning of Shutdown on", longest)
	if stalled := worst(); longest > most+2*stalled {
		t.Errorf("without a leader for %v, want at most %v (the process was stalled for %v)", longest, most, stalled)
	}
}
