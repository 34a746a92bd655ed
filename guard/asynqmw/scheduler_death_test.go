package asynqmw_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
)

// A leader that is killed releases nothing: its lease expires.
func TestSchedulerIsTakenOverWithinTheTTLWhenItsProcessDies(t *testing.T) {
	const role = "JOBGUARD_TEST_LEADER" // the address of its Redis
	const ttl = 3 * time.Second
	if addr := os.Getenv(role); addr != "" {
		err := asynqmw.RunScheduler(t.Context(), guardAt(t, addr, guard.TTL(ttl)), "scheduler", func() *asynq.Scheduler {
			fmt.Println("\nleading") // output of the testing package may come before
			return asynq.NewScheduler(asynq.RedisClientOpt{Addr: addr}, nil)
		})
		t.Fatal("it ended: ", err)
	}
	f := newFleet(t)
	leader := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=5m")
	leader.Env = append(os.Environ(), role+"="+f.redis.Addr())
	out, err := leader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = leader.Process.Kill()
		_ = leader.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Text() != "leading"; {
		if !lines.Scan() {
			t.Fatal("the leader ended")
		}
	}

	r := f.replica(t, ttl)
	took := make(chan time.Time, 1)
	r.run(t, func(ctx context.Context) error {
		return asynqmw.RunScheduler(ctx, r.guard, "scheduler", func() *asynq.Scheduler {
			took <- time.Now()
			return r.scheduler(t, f)
		})
	})
	eventually(t, "it is queued", func() bool { return len(f.admin.Keys(t.Context(), "guard:w:*").Val()) == 1 })
	if len(took) != 0 {
		t.Fatal("two lead")
	}
	killed := time.Now()
	if err := leader.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = leader.Wait() // killed, as intended
	select {
	case at := <-took:
		if d := at.Sub(killed); d > ttl+5*time.Second { // a slow machine, and asking once a second
			t.Errorf("taken over after %v, TTL %v", d, ttl)
		}
	case <-time.After(waitLimit):
		t.Fatal("no replica took over")
	}
	await(t, &r.ticks, 1)
}
