package cronwrap_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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

// onRedis starts a replica with a store of its own over the server at addr, whose clock
// is ahead, and whose job comes due each step.
func (l *history) onRedis(t testing.TB, addr string, ahead, step time.Duration, guards []guard.Option, opts ...cronwrap.JobOption) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = client.Close() })
	c := cron.New(cron.WithLocation(time.UTC))
	r := newRunner(t, redisstore.New(client), c, guards, []cronwrap.Option{cronwrap.OnError(l.failed)})
	r.SetClock(ahead)
	t.Cleanup(func() { r.shutdown(t) })
	if _, err := r.AddSchedule(steps(step), "report", l.record(func(context.Context) error { time.Sleep(ms); return nil }), opts...); err != nil {
		t.Fatal(err)
	}
	c.Start()
}

func (l *history) noErrors(t testing.TB) {
	t.Helper()
	for _, e := range l.reported() {
		t.Errorf("reported: %v", e)
	}
}

func TestEachTickRunsOnceAcrossSkewedReplicasOnRedis(t *testing.T) {
	t.Parallel()
	server, l := redistest.Start(t), new(history)
	for _, ahead := range skews {
		l.onRedis(t, server.Addr(), ahead, s, nil)
	}
	time.Sleep(28 * s)
	l.everyTickOnce(t, s, 25, 3) // 22 at the least
}

// Equal clocks make the replicas collide at every tick.
func TestEachTickRunsOnceAcrossReplicasWithEqualClocksOnRedis(t *testing.T) {
	t.Parallel()
	const step = 100 * ms
	for name, opts := range map[string][]cronwrap.JobOption{
		"drop":                nil,
		"drop, at least once": {cronwrap.AtLeastOnce(m)},
		"wait":                {cronwrap.OverlapWait()},
		"wait, at least once": {cronwrap.OverlapWait(), cronwrap.AtLeastOnce(m)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, l := redistest.Start(t), new(history)
			for range 4 {
				l.onRedis(t, server.Addr(), 0, step, nil, opts...)
			}
			time.Sleep(50 * step)
			// On a busy machine a tick can come so late that the next overtakes it.
			l.everyTickOnce(t, step, 25, 25)
		})
	}
}

func TestMissedTicksAreBackfilledOnceByTheNextFleetOnRedis(t *testing.T) {
	t.Parallel()
	server, l := redistest.Start(t), new(history)
	const step = 500 * ms
	for range 3 { // fleets, one after the other
		t.Run("fleet", func(t *testing.T) {
			for range 3 {
				l.onRedis(t, server.Addr(), 0, step, nil, cronwrap.CatchUp(1000, m), cronwrap.OverlapWait())
			}
			time.Sleep(5 * step)
		})
		time.Sleep(10 * step)
	}
	l.everyTickOnce(t, step, 30, 0)
	l.noErrors(t)
}

// The server is stopped for 2 s while ticks come due, again and again.
func TestStallOfTheServerLosesNoTickOnRedis(t *testing.T) {
	t.Parallel()
	server, l := redistest.Start(t), new(history)
	for range 3 {
		l.onRedis(t, server.Addr(), 0, s, []guard.Option{guard.TTL(5 * s)}, cronwrap.CatchUp(60, m))
	}
	time.Sleep(3 * s)
	for range 3 {
		time.Sleep(time.Until(time.Now().Truncate(s).Add(s + 100*ms)))
		server.Pause()
		time.Sleep(2 * s)
		server.Resume()
		time.Sleep(2 * s)
	}
	time.Sleep(3 * s)
	l.everyTickOnce(t, s, 13, 0)
}

// For 400 ms around each tick the server is a replica: it answers reads, and refuses
// to write.
func TestFailoverAtATickCostsNoTickOnRedis(t *testing.T) {
	t.Parallel()
	server, l := redistest.Start(t), new(history)
	admin := server.Client(t)
	const step = 3 * s
	for range 3 {
		l.onRedis(t, server.Addr(), 0, step, nil)
	}
	want := make(map[time.Time]bool)
	for range 3 {
		next := steps(step).Next(time.Now().Add(step / 2))
		time.Sleep(time.Until(next) - 200*ms)
		began := time.Now()
		if err := admin.Do(t.Context(), "replicaof", "127.0.0.1", "1").Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(400 * ms)
		if err := admin.Do(t.Context(), "replicaof", "no", "one").Err(); err != nil {
			t.Fatal(err)
		}
		if began.Before(next) && time.Since(next) < 400*ms { // else this machine was stopped
			want[next.UTC()] = true
		}
	}
	for until := time.Now().Add(2 * step); len(want) > 0 && time.Now().Before(until); time.Sleep(10 * ms) {
		for _, tick := range l.runs() {
			delete(want, tick.UTC())
		}
	}
	l.everyTickOnce(t, step, 1, 100)
	if len(want) > 0 {
		t.Errorf("ticks that did not run: %v", want)
		l.noErrors(t)
	}
}

// The name of an environment variable with the Redis address for a child process of the
// tests.
const childEnv = "JOBGUARD_CRONWRAP_TEST_CHILD"

const (
	childTTL  = s
	childStep = 3 * s
)

// child is a replica that prints the beginnings of its runs, and the end of the first,
// which comes with the loss of its lease. Its clock is ahead, so it comes first.
func child(addr string) {
	g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: addr})), guard.TTL(childTTL))
	if err != nil {
		panic(err)
	}
	c := cron.New()
	r, err := cronwrap.New(c, g, cronwrap.OnError(func(*cronwrap.Error) {}))
	if err != nil {
		panic(err)
	}
	r.SetClock(700 * ms)
	var again atomic.Bool
	if _, err = r.AddSchedule(steps(childStep), "report", func(ctx context.Context) error {
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
	}, cronwrap.AtLeastOnce(m)); err != nil {
		panic(err)
	}
	c.Run()
}

// startChild starts a child process, which ends with the test, and returns what hears
// it: a word, and a tick.
func startChild(t *testing.T, addr string) (*exec.Cmd, func() (string, int64)) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+addr)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })                            // t.Context is over
	limit := time.AfterFunc(2*m, func() { _ = cmd.Process.Kill() }) // then hearing fails
	t.Cleanup(func() { limit.Stop() })
	lines := bufio.NewScanner(out)
	return cmd, func() (what string, tick int64) {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("the child has nothing more to say")
		}
		if _, err := fmt.Sscan(lines.Text(), &what, &tick); err != nil {
			t.Fatalf("the child says %q: %v", lines.Text(), err)
		}
		return what, tick
	}
}

// of returns how many runs the tick had, and how many ticks after it ran.
func (l *history) of(tick int64) (n, after int) {
	for _, ran := range l.runs() {
		switch {
		case ran.UnixNano() == tick:
			n++
		case ran.UnixNano() > tick:
			after++
		}
	}
	return n, after
}

func (l *history) await(t testing.TB, what string, there func() bool) {
	t.Helper()
	for until := time.Now().Add(m); !there(); time.Sleep(10 * ms) {
		if time.Now().After(until) {
			t.Fatal(what)
		}
	}
}

func TestTickWhoseRunnerWasKilledIsTakenOverOnRedis(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"at most once": 0, "at least once": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, l := redistest.Start(t), new(history)
			for range 2 {
				var opts []cronwrap.JobOption
				if want == 1 {
					opts = append(opts, cronwrap.AtLeastOnce(m))
				}
				l.onRedis(t, server.Addr(), 0, childStep, []guard.Option{guard.TTL(childTTL)}, opts...)
			}
			cmd, hear := startChild(t, server.Addr())
			_, killed := hear()
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			l.await(t, "no later tick ran", func() bool { _, after := l.of(killed); return after > 0 })
			if n, _ := l.of(killed); n != want {
				t.Errorf("the survivors ran the tick %d times, want %d", n, want)
			}
		})
	}
}

// The process is stopped during a run, for longer than its lease lasts, and goes on
// when another has run the tick again.
func TestRunOfAStoppedProcessIsTakenOverOnRedis(t *testing.T) {
	t.Parallel()
	server, l := redistest.Start(t), new(history)
	l.onRedis(t, server.Addr(), 0, childStep, []guard.Option{guard.TTL(childTTL)}, cronwrap.AtLeastOnce(m))
	cmd, hear := startChild(t, server.Addr())
	_, stopped := hear()
	redistest.Suspend(t, cmd.Process)
	l.await(t, "no replica has taken the tick over", func() bool { n, _ := l.of(stopped); return n > 0 })
	redistest.Resume(t, cmd.Process)
	lost, ran := false, []int64(nil)
	for !lost || len(ran) < 2 {
		switch what, tick := hear(); what {
		case "lost":
			lost = tick == stopped
		case "begins":
			ran = append(ran, tick)
		}
	}
	if n, _ := l.of(stopped); n != 1 {
		t.Errorf("the tick was taken over %d times", n)
	}
	for _, tick := range ran {
		if n, _ := l.of(tick); tick <= stopped || n != 0 {
			t.Errorf("after tick %d the child ran %d, which we ran %d times", stopped, tick, n)
		}
	}
	l.noErrors(t)
}
