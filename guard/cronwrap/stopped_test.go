package cronwrap_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// stoppedChild is a replica whose first run ends when its context does. It prints the
// beginnings and ends of runs. Its clock is ahead, so it comes first.
func stoppedChild(addr string) {
	g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: addr})), guard.TTL(childTTL))
	if err != nil {
		panic(err)
	}
	c := cron.New()
	var again atomic.Bool
	r := cronwrap.New(c, g, cronwrap.OnError(func(*cronwrap.Error) {}))
	_, err = r.AddSchedule(skewed{steps(childStep), 700 * time.Millisecond}, "report", func(ctx context.Context) error {
		tick := cronwrap.Tick(ctx).UnixNano()
		fmt.Println("begins", tick)
		if again.Swap(true) {
			return nil
		}
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), guard.ErrLost) {
			panic(context.Cause(ctx))
		}
		fmt.Println("lost", tick)
		return nil
	}, cronwrap.Retry())
	if err != nil {
		panic(err)
	}
	c.Run()
}

// The process is stopped during a run, for longer than its lease lasts, and goes on
// when another has run the tick again.
func TestRunOfAStoppedProcessIsTakenOverWithRetryOnRedis(t *testing.T) {
	t.Parallel()
	server, l := redistest.Start(t), new(log)
	r := newReplica(t, onRedis(t, server.Addr()), l, guard.TTL(childTTL))
	r.addSchedule(t, steps(childStep), "report", work, cronwrap.Retry())
	r.cron.Start()
	cmd, lines := startChild(t, stoppedEnv, server.Addr())
	defer time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }).Stop() // then hear fails
	hear := func() (what string, tick int64) {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("the child has nothing more to say")
		}
		if _, err := fmt.Sscan(lines.Text(), &what, &tick); err != nil {
			t.Fatalf("the child says %q: %v", lines.Text(), err)
		}
		return what, tick
	}
	byUs := func(tick int64) (n int) {
		for _, ran := range l.runs() {
			if ran.UnixNano() == tick {
				n++
			}
		}
		return n
	}

	_, stopped := hear()
	redistest.Suspend(t, cmd.Process)
	for until := time.Now().Add(time.Minute); byUs(stopped) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("no replica has taken the tick over")
		}
	}
	redistest.Resume(t, cmd.Process)
	lost := false
	var ran []int64
	for !lost || len(ran) < 2 {
		switch what, tick := hear(); what {
		case "lost":
			lost = tick == stopped
		case "begins":
			ran = append(ran, tick)
		}
	}
	if n := byUs(stopped); n != 1 {
		t.Errorf("the tick was taken over %d times", n)
	}
	for _, tick := range ran {
		if tick <= stopped || byUs(tick) != 0 {
			t.Errorf("after tick %d the child ran %d, which we ran %d times", stopped, tick, byUs(tick))
		}
	}
	l.noErrors(t)
}
