package cronwrap_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// The names of environment variables with the Redis address for a child process of
// the tests: one that is killed, and one that is stopped for a while.
const (
	childEnv   = "JOBGUARD_CRONWRAP_TEST_CHILD"
	stoppedEnv = "JOBGUARD_CRONWRAP_TEST_CHILD_STOPPED"
)

const (
	childTTL  = time.Second
	childStep = 3 * time.Second
)

// child is a replica that prints the tick of its first run and never ends it. Its
// clock is ahead of the others'.
func child(addr string) {
	g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: addr})), guard.TTL(childTTL))
	if err != nil {
		panic(err)
	}
	c := cron.New()
	for _, name := range []string{"once", "retry"} {
		var opts []cronwrap.JobOption
		if name == "retry" {
			opts = append(opts, cronwrap.Retry())
		}
		_, err = cronwrap.New(c, g).AddSchedule(skewed{steps(childStep), 700 * time.Millisecond}, name, func(ctx context.Context) error {
			fmt.Println(name, cronwrap.Tick(ctx).UnixNano())
			select {}
		}, opts...)
		if err != nil {
			panic(err)
		}
	}
	c.Run()
}

// startChild starts a child process, which ends with the test, and returns its
// output.
func startChild(t *testing.T, env, addr string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), env+"="+addr)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // t.Context is over
	return cmd, bufio.NewScanner(out)
}

// The runner is a process of its own, which is killed.
func TestTickWhoseRunnerWasKilledIsTakenOverWithRetryOnly(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	logs := map[string]*log{"once": {}, "retry": {}}
	for name, l := range logs {
		for range 2 {
			r := newReplica(t, onRedis(t, server.Addr()), l, guard.TTL(childTTL))
			var opts []cronwrap.JobOption
			if name == "retry" {
				opts = append(opts, cronwrap.Retry())
			}
			r.addSchedule(t, steps(childStep), name, work, opts...)
			r.cron.Start()
		}
	}
	cmd, lines := startChild(t, childEnv, server.Addr())
	killed := make(map[string]time.Time)
	for len(killed) < 2 && lines.Scan() {
		var name string
		var tick int64
		if _, err := fmt.Sscan(lines.Text(), &name, &tick); err != nil {
			t.Fatal(err)
		}
		killed[name] = time.Unix(0, tick)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// Both jobs: the tick at which the runner died, and what comes after.
	time.Sleep(time.Until(killed["retry"]) + 2*childStep + childTTL)
	for name, want := range map[string]int{"once": 0, "retry": 1} {
		runs, after := 0, 0
		for _, tick := range logs[name].runs() {
			if tick.Equal(killed[name]) {
				runs++
			}
			if tick.After(killed[name]) {
				after++
			}
		}
		if runs != want || after == 0 {
			t.Errorf("%s: the survivors ran the tick %d times, want %d, and %d ticks after it", name, runs, want, after)
		}
	}
}

// To the other replicas a runner that died is a lease that is lost.
func TestWithRetryTheHeadOfTheQueueTakesOverAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		for range 3 {
			r := newReplica(t, store, l)
			r.add(t, "@every 1m", "report", func(ctx context.Context) error {
				if len(l.runs()) == 1 {
					<-ctx.Done() // lost
					return ctx.Err()
				}
				return nil
			}, cronwrap.Retry())
			r.cron.Start()
		}
		time.Sleep(time.Minute + 10*time.Second)
		store.Expire("report")
		time.Sleep(70 * time.Second)
		l.mustBe(t, start, 60, 60, 120)
		if errs := l.failures(); len(errs) != 1 || !errors.Is(errs[0], guard.ErrLost) {
			t.Errorf("reported: %v, want ErrLost of the first", errs)
		}
	})
}

func TestWithoutRetryATickIsNeverRunAgain(t *testing.T) {
	for name, want := range map[string][]int{"at most once": {60}, "at least once": {60, 60}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				opts := []cronwrap.JobOption{cronwrap.Overlap(cronwrap.Wait)}
				if name == "at least once" {
					opts = append(opts, cronwrap.Retry())
				}
				store.Hold("report", "rival")
				for range 2 {
					r := newReplica(t, store, l)
					r.add(t, "@every 1m", "report", func(ctx context.Context) error {
						if len(l.runs()) < 3 {
							<-ctx.Done()
						}
						return nil
					}, opts...)
					r.cron.Start()
				}
				time.Sleep(65 * time.Second) // both wait for the tick
				store.Expire("report")
				time.Sleep(5 * time.Second)
				l.mustBe(t, start, 60)
				store.Expire("report") // the runner's
				time.Sleep(20 * time.Second)
				l.mustBe(t, start, want...)
				store.Expire("report")
				time.Sleep(20 * time.Second)
			})
		})
	}
}

func TestFailedRunIsOverAlsoWithRetry(t *testing.T) {
	for name, fail := range map[string]func(context.Context) error{
		"error": func(context.Context) error { return errJob },
		"panic": func(context.Context) error { panic(errJob) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				for range 3 {
					r := newReplica(t, store, l)
					r.add(t, "@every 1m", "report", fail, cronwrap.Retry())
					r.cron.Start()
				}
				time.Sleep(150 * time.Second)
				l.mustBe(t, start, 60, 120)
				if n := len(l.failures()); n != 2 {
					t.Errorf("%d errors were reported, want 2", n)
				}
			})
		})
	}
}

func TestTicksAreSkippedWithRetryTooWhileAnEarlierOneRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		for range 3 {
			r := newReplica(t, store, l)
			r.add(t, "@every 10s", "report", sleeping(25*time.Second), cronwrap.Retry())
			r.cron.Start()
		}
		time.Sleep(69 * time.Second)
		l.mustBe(t, start, 10, 40)
		l.noErrors(t)
	})
}

// A replica that starts during the run waits too: there may be no other.
func TestTickWhoseRunnerDiedIsTakenOverByAReplicaThatStartsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		first := newReplica(t, store, l)
		first.add(t, "@every 1h", "report", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, cronwrap.Retry())
		first.cron.Start()
		time.Sleep(time.Hour + time.Minute)
		second := newReplica(t, store, l)
		second.add(t, "@every 1h", "report", nil, cronwrap.Retry())
		second.cron.Start()
		time.Sleep(time.Minute)
		l.mustBe(t, start, 3600)
		store.Expire("report")
		time.Sleep(time.Minute)
		l.mustBe(t, start, 3600, 3600)
	})
}

// Under a Limit the key does not show whether the runner is alive.
func TestRetryTakesNothingOverUnlessTheGuardIsExclusive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		for range 2 {
			r := newReplica(t, store, l, guard.Limit(2))
			r.add(t, "@every 1m", "report", sleeping(10*time.Second), cronwrap.Retry())
			r.cron.Start()
		}
		time.Sleep(110 * time.Second)
		l.mustBe(t, start, 60)
	})
}

// A fleet is stopped during a run. The next one runs that tick again; then, when both
// replicas want the next tick, the loser must be in the queue when the winner dies.
func TestRetryTakesOverAlsoAfterATickThatWasNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		before := newReplica(t, store, l)
		before.add(t, "@every 1m", "report", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, cronwrap.Retry())
		before.cron.Start()
		time.Sleep(70 * time.Second)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_ = before.Shutdown(gone) // an error: it cancels a run
		time.Sleep(60 * time.Second)
		store.Delay(4 * time.Millisecond)
		for range 2 {
			r := newReplica(t, store, l)
			r.add(t, "@every 1m", "report", func(context.Context) error {
				if len(l.runs()) == 3 {
					time.Sleep(2 * time.Minute) // like a dead process
				}
				return nil
			}, cronwrap.Retry())
			r.cron.Start()
		}
		time.Sleep(55 * time.Second)
		store.Expire("report")
		time.Sleep(30 * time.Second)
		l.mustBe(t, start, 60, 60, 180, 180)
	})
}

// The replicas that wait fail like the run itself, and wait again.
func TestRetryOutlastsAnOutageOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		for range 2 {
			r := newReplica(t, store, l)
			r.add(t, "@every 10m", "report", func(ctx context.Context) error {
				select {
				case <-time.After(time.Minute):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}, cronwrap.Retry())
			r.cron.Start()
		}
		time.Sleep(10*time.Minute + 5*time.Second)
		store.Fail(errors.New("down"))
		time.Sleep(40 * time.Second)
		store.Fail(nil)
		time.Sleep(5 * time.Minute)
		l.mustBe(t, start, 600, 600)
		time.Sleep(6 * time.Minute)
		l.mustBe(t, start, 600, 600, 1200)
	})
}

func TestRunThatLostItsLeaseIsRunAgainAlsoByItsOwnReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10m", "report", func(ctx context.Context) error {
			if len(l.runs()) == 1 {
				<-ctx.Done() // lost
			}
			return nil // which does not count then
		}, cronwrap.Retry())
		r.cron.Start()
		time.Sleep(10*time.Minute + 5*time.Second)
		store.Expire("report")
		time.Sleep(time.Minute)
		l.mustBe(t, start, 600, 600)
	})
}

func TestTickThatWaitsForNothingGivesWayWithRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 1m", "report", nil, cronwrap.Retry())
		store.Hold("report", "rival")
		r.cron.Start()
		time.Sleep(65 * time.Second)
		if n := store.Waiting("report"); n != 1 {
			t.Fatalf("%d wait, want 1", n)
		}
		// Another replica's.
		remember(t, store, lease.TickRequest{Key: "report", At: start.Add(time.Minute)}, true)
		time.Sleep(time.Minute)
		store.Expire("report")
		time.Sleep(20 * time.Second)
		l.mustBe(t, start, 120)
		l.noErrors(t)
	})
}

func TestEndOfATickIsSentToTheStoreAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		store.Inject(guardtest.Fault{Op: guardtest.OpEndTick, Err: errors.New("down"), Times: 2})
		r := newReplica(t, store, l)
		r.add(t, "@every 1m", "report", nil, cronwrap.Retry())
		r.cron.Start()
		time.Sleep(90 * time.Second)
		l.mustBe(t, start, 60)
		l.noErrors(t)
		if last, err := store.LastTick(t.Context(), "report"); err != nil || !last.Done {
			t.Errorf("LastTick() = %+v, %v, want it done", last, err)
		}
	})
}
