package asynqmw_test

import (
	"context"
	"errors"
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

// viaProxy is WithRedis through a proxy.
func viaProxy(proxy *redistest.Proxy) asynqmw.Option {
	return asynqmw.WithRedis(asynq.RedisClientOpt{Addr: proxy.Addr()})
}

func TestBusyLastAttemptMakesWayForACloneWithAllItsLimits(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
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
	f.run(t, cfg, f.guard(t), fixed("k"), r, f.withRedis(), asynqmw.Rest(time.Hour))
	deadline := time.Now().Add(30 * time.Hour).Truncate(time.Second)
	f.enqueueTask(t, asynq.NewTaskWithHeaders("t", []byte("payload"), headers), asynq.TaskID("x"), asynq.Queue("critical"),
		asynq.MaxRetry(0), asynq.Timeout(24*time.Hour), asynq.Deadline(deadline), asynq.Retention(time.Hour))
	eventually(t, "the clone is there and x gone", func() bool {
		_, gone := f.inspector.GetTaskInfo("critical", "x")
		return errors.Is(gone, asynq.ErrTaskNotFound) && len(f.clones(t, "critical", "x")) == 1
	})
	clone := f.clones(t, "critical", "x")[0]
	if clone.MaxRetry != 0 || !maps.Equal(clone.Headers, headers) ||
		clone.Timeout != 24*time.Hour || !clone.Deadline.Equal(deadline) || clone.Retention != time.Hour {
		t.Errorf("the clone is %+v", clone)
	}
	if d := time.Until(clone.NextProcessAt); d < 59*time.Minute || d > 2*time.Hour {
		t.Errorf("the clone is due in %v, want between 1h and 2h", d)
	}
	release()
	eventually(t, "the key is free", func() bool { return f.admin.Exists(t.Context(), "guard:k").Val() == 0 })
	if err := f.inspector.RunTask("critical", clone.ID); err != nil {
		t.Fatal(err)
	}
	r.await(t, 1)
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
	// It loads the script, so that the lost replies are those of the request.
	f.enqueueTask(t, asynq.NewTask("t", nil), asynq.Queue("other"), asynq.ProcessIn(time.Hour))
	var lost [4]*redistest.Trap // as often as go-redis itself tries
	for i := range lost {
		lost[i] = proxy.LoseNextReply("t:x~busy-")
	}
	var tries attempts
	f.run(t, quick(), f.guard(t), tries.key, &runs{}, viaProxy(proxy), asynqmw.Rest(time.Hour))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	lost[0].Wait(t)
	eventually(t, "x is gone", func() bool { return f.task("x") == nil })
	f.wantNoTrace(t)
	if q := f.queue(t); q.Size != 1 || len(f.clones(t, "default", "x")) != 1 {
		t.Errorf("%d tasks, want the clone alone", q.Size)
	}
}

func TestReusedTaskIDIsNotDroppedForACloneOfTheEarlierTask(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	var tries attempts
	f.run(t, quick(), f.guard(t), tries.key, &runs{}, f.withRedis(), asynqmw.Rest(time.Hour))
	for _, payload := range []string{"one", "two"} {
		f.enqueueTask(t, asynq.NewTask("t", []byte(payload)), asynq.TaskID("x"), asynq.MaxRetry(0))
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
	var tries attempts
	f.run(t, quick(), f.guard(t), tries.key, &runs{}, viaProxy(proxy), asynqmw.Rest(time.Hour))
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
		ids[id], keys[key] = true, true
		return key, err
	}
	var r runs
	f.run(t, quick(), f.guard(t), spy, &r, f.withRedis(), soon)
	f.enqueue(t, "x", asynq.MaxRetry(0))
	eventually(t, "a clone of a clone", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(ids) >= 3
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
	f.run(t, quick(), f.guard(t), tries.key, &r, soon)
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
	f.run(t, cfg, f.guard(t), tries.key, &r, soon)
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

func TestCloneHasOnlyTheRetriesThatWereLeft(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "second")
	key := func(ctx context.Context, _ *asynq.Task) (string, error) {
		if retried, _ := asynq.GetRetryCount(ctx); retried == 0 {
			return "first", nil
		}
		return "second", nil
	}
	r := &runs{work: func(context.Context, *asynq.Task) error { return errors.New("fails") }}
	f.run(t, quick(), f.guard(t), key, r, f.withRedis(), asynqmw.Rest(time.Hour))
	f.enqueue(t, "x", asynq.MaxRetry(1))
	eventually(t, "x is gone", func() bool { return f.task("x") == nil })
	if clones := f.clones(t, "default", "x"); len(clones) != 1 || clones[0].MaxRetry != 0 {
		t.Errorf("the clones are %+v, want one that has no retry", clones)
	}
}
