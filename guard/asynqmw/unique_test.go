package asynqmw_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard/asynqmw"
)

// enqueueUnique enqueues a task of type "t" that is unique, by its payload, for ttl.
func (f *fleet) enqueueUnique(id, payload string, ttl time.Duration, retries int) error {
	_, err := f.client.Enqueue(asynq.NewTask("t", []byte(payload)),
		asynq.TaskID(id), asynq.Unique(ttl), asynq.MaxRetry(retries))
	return err
}

// takingTime is a handler that takes long enough for two runs to overlap, if nothing
// prevents that.
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
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, asynqmw.WithClient(f.client), soon)(r))
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
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, asynqmw.WithClient(f.client), soon)(r))
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
