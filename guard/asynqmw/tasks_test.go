package asynqmw_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
)

func (f *fleet) enqueueUnique(id, payload string, ttl time.Duration, retries int) error {
	_, err := f.client.Enqueue(asynq.NewTask("t", []byte(payload)),
		asynq.TaskID(id), asynq.Unique(ttl), asynq.MaxRetry(retries))
	return err
}

func takingTime() *runs {
	return &runs{work: func(context.Context, *asynq.Task) error {
		time.Sleep(200 * time.Millisecond)
		return nil
	}}
}

func TestUniqueTaskCanBeEnqueuedAgainAlongsideItsClone(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	enqueue := func(id string) error { return f.enqueueUnique(id, "same", time.Hour, 0) }
	if err := enqueue("x"); err != nil {
		t.Fatal(err)
	}
	if err := enqueue("y"); !errors.Is(err, asynq.ErrDuplicateTask) {
		t.Errorf("before the clone: %v, want ErrDuplicateTask", err)
	}
	var tries attempts
	r := takingTime()
	f.run(t, quick(), f.guard(t), tries.key, r, f.withRedis(), soon)
	eventually(t, "a clone has replaced x", func() bool { return f.task("x") == nil })
	if err := enqueue("y"); err != nil {
		t.Errorf("alongside the clone: %v, want it accepted", err)
	}
	eventually(t, "a clone has replaced y", func() bool { return f.task("y") == nil })
	if r.done.Load() != 0 {
		t.Errorf("%d runs alongside the holder", r.done.Load())
	}
	release()
	r.await(t, 2)
	eventually(t, "the queue is empty", func() bool { return f.queue(t).Size == 0 })
	f.wantNoTrace(t)
	if r.most.Load() != 1 || r.done.Load() != 2 {
		t.Errorf("%d runs, %d at once, want 2, one at a time", r.done.Load(), r.most.Load())
	}
}

func TestDeferredTaskStaysUniqueUntilItsTTL(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	long := func(id string) error { return f.enqueueUnique(id, "long", time.Hour, 1) }
	short := func(id string) error { return f.enqueueUnique(id, "short", time.Second, 1) }
	if err := errors.Join(long("long"), short("short")); err != nil {
		t.Fatal(err)
	}
	var tries attempts
	r := takingTime()
	f.run(t, quick(), f.guard(t), tries.key, r, f.withRedis(), soon)
	deferred := func(id string) bool {
		task := f.task(id)
		return task != nil && task.LastErr != ""
	}
	eventually(t, "both are deferred", func() bool { return deferred("long") && deferred("short") })
	eventually(t, "the TTL of one has passed", func() bool {
		err := short("short again")
		if err != nil && !errors.Is(err, asynq.ErrDuplicateTask) {
			t.Fatal(err)
		}
		return err == nil
	})
	if err := long("long again"); !errors.Is(err, asynq.ErrDuplicateTask) {
		t.Errorf("alongside a deferred task: %v, want ErrDuplicateTask", err)
	}
	release()
	r.await(t, 3)
	eventually(t, "the queue is empty", func() bool { return f.queue(t).Size == 0 })
	if err := long("long again"); err != nil {
		t.Errorf("after the task: %v, want it accepted", err)
	}
	r.await(t, 4)
	f.wantNoTrace(t)
	if r.most.Load() != 1 {
		t.Errorf("%d runs at once, want 1", r.most.Load())
	}
}

// joined aggregates a group into one task whose payload is those of its members.
func joined(group string, tasks []*asynq.Task) *asynq.Task {
	var payloads []string
	for _, task := range tasks {
		payloads = append(payloads, string(task.Payload()))
	}
	return asynq.NewTask("batch", []byte(group+":"+strings.Join(payloads, "+")))
}

func TestGroupedTasksRunUnderTheKeyAndLimitsOfTheirBatch(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "acme")
	r := &runs{work: func(ctx context.Context, _ *asynq.Task) error {
		if retries, _ := asynq.GetMaxRetry(ctx); retries != 25 { // asynq's default, not the members' 0
			t.Errorf("the batch has %d retries", retries)
		}
		return nil
	}}
	cfg := quick()
	cfg.GroupAggregator, cfg.GroupGracePeriod, cfg.GroupMaxSize = asynq.GroupAggregatorFunc(joined), 2*time.Second, 2
	f.run(t, cfg, f.guard(t), func(_ context.Context, task *asynq.Task) (string, error) {
		group, _, _ := strings.Cut(string(task.Payload()), ":")
		return group, nil
	}, r, f.withRedis())
	for _, payload := range []string{"a", "b"} {
		f.enqueueTask(t, asynq.NewTask("t", []byte(payload)), asynq.Group("acme"), asynq.MaxRetry(0), asynq.Timeout(time.Minute))
	}
	eventually(t, "the batch is deferred", func() bool { return f.queue(t).Retry == 1 })
	release()
	r.await(t, 1)
	f.wantNoTrace(t)
}

// asynq counts a failure for it, which no middleware can prevent.
func TestTaskCancelledWhileItWaitsForItsKeyNeverRunsInThatAttempt(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	var r runs
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	asked := newNames()
	f.run(t, cfg, f.guard(t, guard.Wait(time.Hour), guard.Observe(asked)), fixed("k"), &r, f.withRedis())
	f.enqueue(t, "x")
	asked.next(t)
	eventually(t, "it is cancelled", func() bool {
		_ = f.inspector.CancelProcessing("x") // a server that does not listen yet hears nothing
		return f.queue(t).Failed >= 1
	})
	if err := errs.next(t); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), `waited for its key "k"`) {
		t.Errorf("the ErrorHandler got %v, want that it waited for its key", err)
	}
	if r.done.Load() != 0 {
		t.Error("the handler ran")
	}
	release()
	r.await(t, 1)
}

// With WithRedis a last attempt waits for half a second at most, then its clone has its
// place: there is little to cancel, and nothing archived without the holder's name.
func TestLastAttemptWithAClientDoesNotWaitForLong(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	f.run(t, quick(), f.guard(t), fixed("k"), &runs{}, f.withRedis(), asynqmw.Rest(time.Hour))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	eventually(t, "a clone has replaced it", func() bool { return f.task("x") == nil && len(f.clones(t, "default", "x")) == 1 })
	if active := f.queue(t).Active; active != 0 {
		t.Errorf("%d tasks are active", active)
	}
}

func TestRetentionOfADeferredTaskIsKept(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	var r runs
	f.run(t, quick(), f.guard(t), fixed("k"), &r, f.withRedis(), soon)
	f.enqueue(t, "one", asynq.MaxRetry(1), asynq.Retention(time.Hour))
	f.enqueue(t, "none", asynq.MaxRetry(0), asynq.Retention(time.Hour))
	eventually(t, "both are deferred", func() bool { q := f.queue(t); return q.Retry == 1 && q.Scheduled == 1 })
	release()
	r.await(t, 2)
	eventually(t, "both are kept", func() bool { return f.queue(t).Completed == 2 })
}

// asynq stores texts of errors as protobuf strings: with others a task stays active for
// a minute or two.
func TestErrorThatIsNotUTF8LeavesNoTaskActive(t *testing.T) {
	t.Parallel()
	for name, holder := range map[string]string{"holder": "\xff\xfe raw", "handler": ""} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			own := fmt.Errorf("\xff: %w", errors.New("own"))
			r := &runs{work: func(ctx context.Context, _ *asynq.Task) error {
				if retried, _ := asynq.GetRetryCount(ctx); retried == 0 && holder == "" {
					return own
				}
				return nil
			}}
			if holder != "" {
				f.admin.Set(t.Context(), "guard:k", holder, 0)
			}
			errs := newErrorLog()
			cfg := quick()
			cfg.ErrorHandler = errs
			cfg.RetryDelayFunc = func(int, error, *asynq.Task) time.Duration { return time.Hour }
			f.run(t, cfg, f.guard(t), fixed("k"), r, f.withRedis(), asynqmw.Rest(time.Hour))
			f.enqueue(t, "x", asynq.MaxRetry(1))
			eventually(t, "it is to be retried", func() bool { return f.queue(t).Retry == 1 })
			if holder == "" {
				if err := errs.next(t); !errors.Is(err, own) || !utf8.ValidString(err.Error()) {
					t.Errorf("the ErrorHandler got %q, want the handler's own with a valid text", err)
				}
			}
			f.admin.Del(t.Context(), "guard:k")
			if err := f.inspector.RunTask("default", "x"); err != nil {
				t.Fatal(err)
			}
			r.await(t, 1)
		})
	}
}
