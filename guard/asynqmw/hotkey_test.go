package asynqmw_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
)

// diary is a handler that writes down which task, by its payload, began when.
type diary struct {
	runs
	mu    sync.Mutex // guards what follows
	order []string
	began []time.Time
}

func newDiary(work time.Duration) *diary {
	j := new(diary)
	j.work = func(_ context.Context, task *asynq.Task) error {
		j.mu.Lock()
		j.order, j.began = append(j.order, string(task.Payload())), append(j.began, time.Now())
		j.mu.Unlock()
		time.Sleep(work)
		return nil
	}
	return j
}

// wantInOrder waits until the tasks 0 to n-1 have run and checks that they did so one
// at a time and in order. It returns when the last began.
func (j *diary) wantInOrder(t *testing.T, n int) time.Time {
	t.Helper()
	j.await(t, int64(n))
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, payload := range j.order {
		if payload != strconv.Itoa(i) {
			t.Errorf("they ran in the order %v", j.order)
			break
		}
	}
	if len(j.order) != n || j.most.Load() != 1 {
		t.Errorf("%d runs, %d at once, want %d, one at a time", len(j.order), j.most.Load(), n)
	}
	return j.began[len(j.began)-1]
}

// enqueueNumbers enqueues tasks of type "t" with the payloads 0 to n-1.
func (f *fleet) enqueueNumbers(t *testing.T, n int, opts ...asynq.Option) {
	t.Helper()
	for i := range n {
		f.enqueueTask(t, asynq.NewTask("t", []byte(strconv.Itoa(i))), opts...)
	}
}

// byType gives each type of task a key.
func byType(_ context.Context, task *asynq.Task) (string, error) { return task.Type(), nil }

// plain is the configuration of a server as most are.
func plain() asynq.Config { return asynq.Config{Concurrency: 10, LogLevel: asynq.FatalLevel} }

func TestHotKeyRunsInOrderAndHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	for name, retries := range map[string]int{"retries": 25, "none": 0} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			hot, others := newDiary(10*time.Millisecond), newDiary(0)
			mw := middleware(t, f.guard(t), byType, f.withRedis())
			mux := asynq.NewServeMux()
			mux.Use(mw.Handler)
			mux.Handle("t", hot)
			mux.Handle("other:", others)
			f.enqueueNumbers(t, 100, asynq.MaxRetry(retries))
			began := time.Now()
			f.serve(t, mw.Config(plain()), mux)
			hot.await(t, 10)
			sent := time.Now()
			for i := range 5 {
				f.enqueueTask(t, asynq.NewTask(fmt.Sprintf("other:%d", i), nil))
			}
			others.await(t, 5)
			if hot.done.Load() == 100 {
				t.Error("the others waited for the hot key")
			}
			late := slices.MaxFunc(others.began, time.Time.Compare).Sub(sent)
			if late > 5*time.Second { // it is 20 ms, but for other work of the machine
				t.Errorf("a task of another key began after %v", late)
			}
			took := hot.wantInOrder(t, 100).Sub(began)
			if took > 20*time.Second { // it is less than 2, likewise
				t.Errorf("100 tasks of 10 ms took %v", took)
			}
			t.Logf("100 tasks of 10 ms: %v; the last task of another key began after %v", took, late)
			eventually(t, "the queue is empty", func() bool { return f.queue(t).Size == 0 })
			f.wantNoTrace(t)
		})
	}
}

func TestHotKeyRunsInOrderOnSeveralServers(t *testing.T) {
	f := newFleet(t)
	j := newDiary(5 * time.Millisecond)
	f.enqueueNumbers(t, 60)
	for range 3 {
		f.run(t, plain(), f.guard(t), fixed("k"), j, f.withRedis())
	}
	j.wantInOrder(t, 60)
	f.wantNoTrace(t)
}

func TestHotKeyOnAServerWithOneWorkerLetsItHaveOthers(t *testing.T) {
	f := newFleet(t)
	j := newDiary(5 * time.Millisecond)
	f.enqueueNumbers(t, 30)
	cfg := plain()
	cfg.Concurrency = 1
	f.run(t, cfg, f.guard(t), fixed("k"), j, f.withRedis())
	j.wantInOrder(t, 30)
}

// A task that is called goes before those that were enqueued after it.
func TestHotKeyDoesNotWaitForTheBacklogOfItsQueue(t *testing.T) {
	f := newFleet(t)
	hot, others := newDiary(time.Millisecond), newDiary(100*time.Millisecond)
	mw := middleware(t, f.guard(t), func(ctx context.Context, task *asynq.Task) (string, error) {
		if task.Type() == "t" {
			return "hot", nil
		}
		return asynqmw.TaskID()(ctx, task)
	}, f.withRedis())
	mux := asynq.NewServeMux()
	mux.Use(mw.Handler)
	mux.Handle("t", hot)
	mux.Handle("other", others)
	f.enqueueNumbers(t, 5)
	for range 300 {
		f.enqueueTask(t, asynq.NewTask("other", nil))
	}
	cfg := plain()
	cfg.Concurrency = 3
	f.serve(t, mw.Config(cfg), mux)
	hot.wantInOrder(t, 5)
	if n := others.done.Load(); n > 200 {
		t.Errorf("%d of 300 tasks that were enqueued later ran before", n)
	}
}

// The next task has given up its wait before such a run ends.
func TestLongRunsOfAKeyFollowEachOtherAtOnce(t *testing.T) {
	f := newFleet(t)
	j := newDiary(800 * time.Millisecond)
	f.enqueueNumbers(t, 5)
	f.run(t, plain(), f.guard(t), fixed("k"), j, f.withRedis(), asynqmw.Rest(time.Hour)) // no task comes back by itself
	j.wantInOrder(t, 5)
}

func TestOneWorkerAtMostWaitsForAKey(t *testing.T) {
	t.Parallel()
	for _, redis := range []bool{true, false} {
		t.Run(fmt.Sprintf("redis=%v", redis), func(t *testing.T) {
			f := newFleet(t)
			hold(t, f.guard(t), "t")
			others := newDiary(0)
			var opts []asynqmw.Option
			if redis {
				opts = append(opts, f.withRedis())
			}
			mw := middleware(t, f.guard(t, guard.Wait(time.Hour)), byType, opts...)
			mux := asynq.NewServeMux()
			mux.Use(mw.Handler)
			mux.Handle("t", &runs{})
			mux.Handle("other", others)
			f.enqueueNumbers(t, 20)
			f.enqueueTask(t, asynq.NewTask("other", nil))
			cfg := quick()
			cfg.Concurrency = 2
			f.serve(t, mw.Config(cfg), mux)
			others.await(t, 1)
			f.enqueueTask(t, asynq.NewTask("other", nil))
			others.await(t, 2)
		})
	}
}

func TestTasksOfOneKeyInTwoQueuesAllRun(t *testing.T) {
	f := newFleet(t)
	j := newDiary(time.Millisecond)
	for _, queue := range []string{"a", "b"} {
		f.enqueueNumbers(t, 10, asynq.Queue(queue))
	}
	cfg := plain()
	cfg.Queues = map[string]int{"a": 1, "b": 1}
	f.run(t, cfg, f.guard(t), fixed("k"), j, f.withRedis())
	j.await(t, 20)
	if j.most.Load() != 1 {
		t.Errorf("%d runs at once", j.most.Load())
	}
}

func TestDeletedAndArchivedTasksHoldUpNoOthers(t *testing.T) {
	f := newFleet(t)
	begun, release := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(release) })
	defer goOn() // also if the test fails
	var ids []string
	r := &runs{work: func(ctx context.Context, _ *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		if ids = append(ids, id); id == "0" { // one at a time
			close(begun)
			<-release
		}
		return nil
	}}
	f.run(t, plain(), f.guard(t), fixed("k"), r, f.withRedis(), asynqmw.Rest(time.Hour))
	f.enqueue(t, "0")
	await(t, "the first run", begun)
	for i := 1; i < 4; i++ {
		f.enqueue(t, strconv.Itoa(i), asynq.Retention(time.Hour))
		eventually(t, "it is deferred", func() bool { return f.queue(t).Retry == i })
	}
	if err := f.inspector.DeleteTask("default", "1"); err != nil {
		t.Fatal(err)
	}
	if err := f.inspector.ArchiveTask("default", "2"); err != nil {
		t.Fatal(err)
	}
	goOn()
	r.await(t, 2)
	if task := f.task("2"); task.State != asynq.TaskStateArchived || !slices.Equal(ids, []string{"0", "3"}) {
		t.Errorf("%v ran, the archived task is %v", ids, task.State)
	}
}

// The line is a hint: without it tasks come back by themselves.
func TestTasksRunAlsoIfTheirLineIsLost(t *testing.T) {
	f := newFleet(t)
	j := newDiary(20 * time.Millisecond)
	f.enqueueNumbers(t, 6)
	f.run(t, quick(), f.guard(t), fixed("k"), j, f.withRedis())
	eventually(t, "all have run", func() bool {
		keys := f.admin.Keys(t.Context(), "asynq:{default}:jobguard:*").Val()
		f.admin.Del(t.Context(), append(keys, "none")...)
		return j.done.Load() == 6
	})
	f.wantNoTrace(t)
	if j.most.Load() != 1 {
		t.Errorf("%d runs at once", j.most.Load())
	}
}

func TestGuardWithALimitHasNoOrder(t *testing.T) {
	f := newFleet(t)
	three := make(chan struct{})
	r := new(runs)
	r.work = func(_ context.Context, task *asynq.Task) error {
		if r.now.Load() == 3 {
			close(three)
		}
		if task.Type() == "t" {
			<-three
		}
		return nil
	}
	f.run(t, quick(), f.guard(t, guard.Limit(4)), fixed("k"), r, f.withRedis(), asynqmw.Rest(5*time.Second))
	f.enqueueTask(t, asynq.NewTask("first", nil)) // the middleware learns of the Limit; it may still hold its permit
	r.await(t, 1)
	for i := range 3 {
		f.enqueue(t, strconv.Itoa(i))
	}
	r.await(t, 4)
}

// The server that is killed runs one task and has called the next, or waits with it.
func TestKilledServerHoldsUpItsLineForTheTTLOnly(t *testing.T) {
	const role = "JOBGUARD_TEST_SERVER" // the address of its Redis
	const ttl = 3 * time.Second
	if addr := os.Getenv(role); addr != "" {
		conn := asynq.RedisClientOpt{Addr: addr}
		mw := middleware(t, guardAt(t, addr, guard.TTL(ttl)), fixed("k"), asynqmw.WithRedis(conn))
		err := asynq.NewServer(conn, mw.Config(plain())).Start(mw.Handler(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
			if string(task.Payload()) == "0" {
				return nil // the next is called, so that the one after it is
			}
			fmt.Println("\nrunning")
			select {}
		})))
		t.Log(err)
		select {}
	}
	f := newFleet(t)
	f.enqueueNumbers(t, 8)
	victim := startChild(t, role, f.redis.Addr(), "running")
	eventually(t, "the others are deferred", func() bool { return f.queue(t).Retry >= 5 })
	j := newDiary(10 * time.Millisecond)
	f.run(t, quick(), f.guard(t, guard.TTL(ttl)), fixed("k"), j, f.withRedis())
	_ = victim.Process.Kill()
	j.await(t, 5) // asynq itself finds the others in half a minute or more
	f.wantNoTrace(t)
}

// startChild starts the running test in a process of its own, with the variable role,
// and waits until it prints line.
func startChild(t *testing.T, role, value, line string) *exec.Cmd {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=5m")
	child.Env = append(os.Environ(), role+"="+value)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait() // killed, as intended
	})
	for lines := bufio.NewScanner(out); lines.Text() != line; {
		if !lines.Scan() {
			t.Fatal("the child ended")
		}
	}
	return child
}
