package asynqmw_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestBusyLastAttemptMakesWayForAClone(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	var tries attempts
	headers := map[string]string{"traceparent": "00-1-2-03"}
	r := &runs{work: func(_ context.Context, task *asynq.Task) error {
		if !maps.Equal(task.Headers(), headers) || task.Type() != "t" || string(task.Payload()) != "payload" {
			t.Errorf("the clone is %q %q with headers %v", task.Type(), task.Payload(), task.Headers())
		}
		return nil
	}}
	errs := newErrorLog()
	cfg := quick()
	cfg.Queues = map[string]int{"critical": 1}
	cfg.ErrorHandler = errs
	// An hour, so that the clone can be inspected before it is due.
	f.serve(t, asynqmw.Configure(cfg), asynqmw.New(f.guard(t), tries.key, asynqmw.WithClient(f.client), asynqmw.DeferFor(time.Hour))(r))

	deadline := time.Now().Add(3 * time.Hour).Truncate(time.Second)
	limits := map[string]asynq.Option{"timeout": asynq.Timeout(90 * time.Second), "deadline": asynq.Deadline(deadline)}
	for id, limit := range limits {
		task := asynq.NewTaskWithHeaders("t", []byte("payload"), headers)
		if _, err := f.client.Enqueue(task, asynq.TaskID(id), asynq.Queue("critical"), asynq.MaxRetry(0), limit); err != nil {
			t.Fatal(err)
		}
	}
	for id := range limits {
		var clone *asynq.TaskInfo
		eventually(t, "the clone is there and "+id+" gone", func() bool {
			clones := f.clones(t, "critical", id)
			_, gone := f.inspector.GetTaskInfo("critical", id)
			if len(clones) != 1 || !errors.Is(gone, asynq.ErrTaskNotFound) {
				return false
			}
			clone = clones[0]
			return true
		})
		if clone.State != asynq.TaskStateScheduled || clone.MaxRetry != 0 || !maps.Equal(clone.Headers, headers) {
			t.Errorf("the clone is %+v", clone)
		}
		if id == "timeout" && (clone.Timeout != 90*time.Second || !clone.Deadline.IsZero()) ||
			id == "deadline" && !clone.Deadline.Equal(deadline) {
			t.Errorf("the clone of %s has Timeout %v, Deadline %v", id, clone.Timeout, clone.Deadline)
		}
		if d := time.Until(clone.NextProcessAt); d < 59*time.Minute || d > 2*time.Hour {
			t.Errorf("the clone is due in %v, want between 1h and 2h", d)
		}
	}
	release()
	eventually(t, "the key is free", func() bool { return f.admin.Exists(t.Context(), "guard:k").Val() == 0 })
	for id := range limits { // one after the other: they must not compete
		done := r.done.Load()
		if err := f.inspector.RunTask("critical", f.clones(t, "critical", id)[0].ID); err != nil {
			t.Fatal(err)
		}
		r.await(t, done+1)
	}
	if q, err := f.inspector.GetQueueInfo("critical"); err != nil || q.Archived != 0 || q.Failed != 0 {
		t.Errorf("%+v, %v", q, err)
	}
	errs.wantNothing(t)
}

// A request for a clone can have succeeded although its reply was lost.
func TestCloneWhoseReplyWasLostIsEnqueuedOnce(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: proxy.Addr()})
	defer client.Close()
	if _, err := client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("other"), asynq.TaskID("y"), asynq.ProcessIn(time.Hour)); err != nil {
		t.Fatal(err) // loads the script, so that the lost replies are those of the request
	}
	var lost [4]*redistest.Trap // as often as go-redis itself tries
	for i := range lost {
		lost[i] = proxy.LoseNextReply("x~busy1")
	}
	var tries attempts
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, asynqmw.WithClient(client), asynqmw.DeferFor(time.Hour))(&runs{}))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	lost[0].Wait(t)
	eventually(t, "x is gone", func() bool { return f.task("x") == nil })
	f.wantNoTrace(t)
	if q := f.queue(t); q.Size != 1 || len(f.clones(t, "default", "x")) != 1 {
		t.Errorf("%d tasks, want the clone alone", q.Size)
	}
}

func TestTaskThatIsClonedAtOnceDoesNotQueue(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	proxy.Delay(20 * time.Millisecond) // time to be queued, if the task were
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: proxy.Addr()})
	defer client.Close()
	var tries attempts
	asked := newNames()
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t, guard.Observe(asked)), tries.key, asynqmw.WithClient(client), asynqmw.DeferFor(time.Hour))(&runs{}))
	for _, id := range []string{"x", "y", "z"} { // a slow machine may take a second for one
		f.enqueue(t, id, asynq.MaxRetry(0))
		eventually(t, id+" is gone", func() bool { return f.task(id) == nil })
		asked.next(t)
		if len(asked.seen) == 0 {
			return
		}
		asked.next(t)
	}
	t.Error("every task asked for its key a second time")
}

func TestReusedTaskIDIsNotDroppedForACloneOfTheEarlierTask(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	var tries attempts
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, asynqmw.WithClient(f.client), asynqmw.DeferFor(time.Hour))(&runs{}))
	for _, payload := range []string{"one", "two"} {
		if _, err := f.client.Enqueue(asynq.NewTask("t", []byte(payload)), asynq.TaskID("x"), asynq.MaxRetry(0)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "x is gone", func() bool { return f.task("x") == nil })
	}
	payloads := map[string]bool{}
	for _, clone := range f.clones(t, "default", "x") {
		payloads[string(clone.Payload)] = true
	}
	if len(payloads) != 2 {
		t.Errorf("there are clones of %v, want one of each task", payloads)
	}
	f.wantNoTrace(t)
}

func TestCloneIsEnqueuedDuringTheWaitOnceItCanBe(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	proxy.Cut()
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: proxy.Addr()})
	defer client.Close()
	var tries attempts
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, asynqmw.WithClient(client), asynqmw.DeferFor(time.Hour))(&runs{}))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	tries.await(t, 1)
	time.Sleep(1500 * time.Millisecond) // the first request is over, with all that go-redis does to repeat it
	proxy.Heal()
	eventually(t, "x is gone", func() bool { return f.task("x") == nil })
	f.wantNoTrace(t)
	if tries.Load() != 1 || len(f.clones(t, "default", "x")) != 1 {
		t.Errorf("%d attempts, %d clones, want one of each", tries.Load(), len(f.clones(t, "default", "x")))
	}
}

func TestClientThatHangsKeepsNoTaskFromItsKey(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	proxy.Blackhole(redistest.Both)
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: proxy.Addr(), ReadTimeout: waitLimit})
	defer client.Close()
	var tries attempts
	var r runs
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, asynqmw.WithClient(client))(&r))
	f.enqueue(t, "x", asynq.MaxRetry(0), asynq.Timeout(6*time.Second))
	tries.await(t, 1)
	time.Sleep(300 * time.Millisecond) // the request hangs
	release()
	eventually(t, "x runs or is archived", func() bool { return r.done.Load() == 1 || f.queue(t).Archived == 1 })
	f.wantNoTrace(t)
}

func TestWhileNoCloneCanBeEnqueuedTheTaskKeepsItsQueuePlace(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), guard.Key("type", "t"))
	proxy := redistest.NewProxy(t, f.redis.Addr())
	proxy.Cut()
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: proxy.Addr()})
	defer client.Close()
	order := make(chan string, 2)
	r := &runs{work: func(context.Context, *asynq.Task) error {
		order <- "first"
		return nil
	}}
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), asynqmw.TaskType(), asynqmw.WithClient(client))(r))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	queued := func(n int64) func() bool {
		return func() bool {
			lines := f.admin.Keys(t.Context(), "guard:w:*").Val()
			return len(lines) == 1 && f.admin.ZCard(t.Context(), lines[0]).Val() == n
		}
	}
	eventually(t, "x is queued", queued(1))
	second := f.guard(t, guard.Wait(waitLimit))
	over := make(chan error, 1)
	go func() { // ended by release
		over <- second.Do(context.Background(), guard.Key("type", "t"), func(context.Context) error {
			order <- "second"
			return nil
		})
	}()
	eventually(t, "the second is queued", queued(2))
	time.Sleep(1500 * time.Millisecond) // more requests for a clone than one
	release()
	if a, b := <-order, <-order; a != "first" {
		t.Errorf("%s ran before %s", a, b)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// freed frees the key after the first acquisition that failed.
type freed struct {
	guard.Observer
	free func()
}

func (f freed) AcquireEnd(_ context.Context, a guard.AcquireEnd) {
	if a.Err != nil {
		f.free()
	}
}

func TestLastAttemptTriesItsKeyOnceMoreBeforeItGivesUp(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	g := f.guard(t, guard.Wait(time.Minute), guard.Observe(freed{guard.LogObserver(slog.New(slog.DiscardHandler)), func() {
		release()
		for f.admin.Exists(t.Context(), "guard:k").Val() != 0 { // ended by the test's context at the latest
			time.Sleep(10 * time.Millisecond)
		}
	}}))
	var tries attempts
	var r runs
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(g, tries.key)(&r))
	f.enqueue(t, "x", asynq.MaxRetry(0), asynq.Timeout(4*time.Second))
	eventually(t, "x runs or is archived", func() bool { return r.done.Load() == 1 || f.queue(t).Archived == 1 })
	f.wantNoTrace(t)
}

func TestWhileNoCloneCanBeEnqueuedTheLastAttemptWaitsOnItsWorker(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	proxy.Cut()
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: proxy.Addr()})
	defer client.Close()
	var tries attempts
	var r runs
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, asynqmw.WithClient(client), soon)(&r))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	tries.await(t, 1)
	time.Sleep(300 * time.Millisecond) // time for a wrong outcome
	f.wantNoTrace(t)
	release()
	r.await(t, 1)
	f.wantNoTrace(t)
	if tries.Load() != 1 {
		t.Errorf("%d attempts, want 1", tries.Load())
	}
}

func TestTaskIDMakesTheSameKeyForAClone(t *testing.T) {
	f := newFleet(t)
	key := guard.Key("task", "default", "x")
	release := hold(t, f.guard(t), key)
	var mu sync.Mutex
	ids, keys := map[string]bool{}, map[string]bool{}
	spy := func(ctx context.Context, task *asynq.Task) (string, error) {
		key, err := asynqmw.TaskID()(ctx, task)
		id, _ := asynq.GetTaskID(ctx)
		mu.Lock()
		defer mu.Unlock()
		id, _, _ = strings.Cut(id, "-")
		ids[id], keys[key] = true, true
		return key, err
	}
	var r runs
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), spy, asynqmw.WithClient(f.client), soon)(&r))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	eventually(t, "a clone of a clone", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return ids["x"] && ids["x~busy1"] && ids["x~busy2"]
	})
	release()
	r.await(t, 1)
	mu.Lock()
	defer mu.Unlock()
	if got := slices.Collect(maps.Keys(keys)); !slices.Equal(got, []string{key}) {
		t.Errorf("keys %q, want %q alone", got, key)
	}
}

func TestWithoutAClientTheLastAttemptWaitsOnItsWorker(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	var tries attempts
	var r runs
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, soon)(&r))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	tries.await(t, 1)
	time.Sleep(300 * time.Millisecond) // time for a wrong outcome
	f.wantNoTrace(t)
	release()
	r.await(t, 1)
	f.wantNoTrace(t)
	if tries.Load() != 1 {
		t.Errorf("%d attempts, want 1", tries.Load())
	}
}

func TestLastAttemptThatWaitsInVainIsArchivedAsBusy(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	var tries attempts
	var r runs
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	f.serve(t, asynqmw.Configure(cfg), asynqmw.New(f.guard(t), tries.key, soon)(&r))
	f.enqueue(t, "x", asynq.MaxRetry(0), asynq.Timeout(4*time.Second))
	if err := errs.next(t); !errors.Is(err, guard.ErrBusy) {
		t.Errorf("the ErrorHandler got %v, want ErrBusy", err)
	}
	eventually(t, "x is archived", func() bool { return f.task("x").State == asynq.TaskStateArchived })
	if task := f.task("x"); !strings.Contains(task.LastErr, "held by") {
		t.Errorf("last error %q, want the holder in it", task.LastErr)
	}
	if r.done.Load() != 0 {
		t.Error("the handler ran alongside the holder")
	}
	errs.wantNothing(t)

	release()
	if err := f.inspector.RunTask("default", "x"); err != nil {
		t.Fatal(err)
	}
	r.await(t, 1)
}
