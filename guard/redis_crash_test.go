package guard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// childEnv holds the Redis address for a child process of the tests.
const childEnv = "JOBGUARD_TEST_CHILD"

// childTTL is the TTL of a child's lease.
const childTTL = 2 * time.Second

// child holds key "k", says so, and then answers each line on stdin with what
// the first look at its context says.
func child(addr string) {
	g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: addr})), guard.TTL(childTTL))
	if err != nil {
		panic(err)
	}
	// A run inside: what it sees of the lease around it is what is asked.
	_ = g.Do(context.Background(), "k", func(ctx context.Context) error {
		return g.With(guard.TTL(time.Minute)).Do(ctx, fmt.Sprint("inner", os.Getpid()), func(ctx context.Context) error {
			fmt.Println("held")
			for in := bufio.NewScanner(os.Stdin); in.Scan(); {
				fmt.Println(ctx.Err() == nil, errors.Is(context.Cause(ctx), guard.ErrLost), guard.Holding(ctx, "k"))
			}
			return nil
		})
	})
}

// process is a running child.
type process struct {
	cmd  *exec.Cmd
	say  func()                    // sends a line
	hear func(t testing.TB) string // reads one
}

// startChild returns a child that holds key "k", or does what env says.
func startChild(t *testing.T, addr string, env ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+addr)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	p := &process{
		cmd: cmd,
		say: func() { _, _ = fmt.Fprintln(in) },
		hear: func(t testing.TB) string {
			if !lines.Scan() {
				t.Fatal("the child ended")
			}
			return lines.Text()
		},
	}
	if got := p.hear(t); got != "held" {
		t.Fatalf("the child says %q", got)
	}
	return p
}

func TestRedisResumedProcessSeesTheLossAtItsFirstLook(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	for range 5 {
		p := startChild(t, s.Addr())
		p.say()
		if got := p.hear(t); got != "true false true" {
			t.Fatalf("while held the child says %q", got)
		}
		redistest.Suspend(t, p.cmd.Process)
		time.Sleep(childTTL + 200*time.Millisecond)
		p.say() // waits for the child when it resumes
		redistest.Resume(t, p.cmd.Process)
		if got := p.hear(t); got != "false true false" {
			t.Errorf("resumed past its TTL the child says %q: alive, lost, holding", got)
		}
		must(t, p.cmd.Process.Kill())
	}
}

func TestRedisKilledHolderBlocksForItsTTLAtMost(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := onRedis(t, s.Addr())
	for range 3 {
		p := startChild(t, s.Addr())
		waiting := make(chan time.Time, 1)
		go func() {
			err := g.Do(context.Background(), "k", func(context.Context) error { waiting <- time.Now(); return nil })
			noError(t, err)
		}()
		time.Sleep(100 * time.Millisecond)
		must(t, p.cmd.Process.Kill())
		killed := time.Now()
		if d := arrives(t, "the next one", waiting).Sub(killed); d > childTTL+2*time.Second {
			t.Errorf("the next one was in %v after the kill, TTL %v", d, childTTL)
		}
	}
}

func TestRedisFencesRiseOverEveryLossOfTheCounter(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	admin := s.Client(t)
	g := onRedis(t, s.Addr())
	var last int64
	run := func(g *guard.Guard, after string) {
		t.Helper()
		err := g.Do(t.Context(), "k", func(ctx context.Context) error {
			token, ok := guard.Fence(ctx)
			if !ok || token <= last {
				t.Errorf("after %s: token %d %v, before it %d", after, token, ok, last)
			}
			last = token
			return nil
		})
		if err != nil && !errors.Is(err, guard.ErrLost) {
			t.Errorf("after %s: %v", after, err)
		}
	}
	run(g, "nothing")
	run(g, "a release")
	_ = g.Do(t.Context(), "k", func(ctx context.Context) error {
		last, _ = guard.Fence(ctx)
		sent(t, admin.PExpire(ctx, "guard:k", time.Millisecond))
		for admin.Exists(ctx, "guard:k").Val() > 0 {
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	run(g, "an expiry")
	sent(t, admin.FlushAll(t.Context()))
	run(g, "FLUSHALL")
	s.Restart()
	run(g, "a restart without persistence")
	for range 10 {
		replica := redistest.StartReplica(t, s)
		replica.Pause() // hears nothing of what follows
		for range 20 {
			run(g, "a release")
		}
		s.Pause()
		replica.Resume()
		replica.Promote(t)
		run(onRedis(t, replica.Addr()), "quick promotion of a stale replica")
		replica.Kill()
		s.Resume()
	}
}
