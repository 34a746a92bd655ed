package asynqmw_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
)

func TestBusyUsesUpNoRetryAndCountsNoFailure(t *testing.T) {
	f := newFleet(t)
	var tries attempts
	var r runs
	errs := newErrorLog()
	release := hold(t, f.guard(t), "k")
	cfg := quick()
	cfg.ErrorHandler = errs
	f.run(t, cfg, f.guard(t), tries.key, &r, soon)
	f.enqueue(t, "x", asynq.MaxRetry(1))
	tries.await(t, 4)
	if task := f.task("x"); task.Retried != 0 {
		t.Errorf("%d retries used up", task.Retried)
	}
	release()
	r.await(t, 1)
	f.wantNoTrace(t)
	errs.wantNothing(t)
}

func TestDeferredTaskComesBackSoonByDefault(t *testing.T) {
	f := newFleet(t)
	var tries attempts
	hold(t, f.guard(t), "k")
	f.enqueue(t, "x", asynq.MaxRetry(1))
	cfg := asynq.Config{LogLevel: asynq.FatalLevel, TaskCheckInterval: 10 * time.Millisecond}
	f.run(t, cfg, f.guard(t), tries.key, &runs{})
	began := time.Now()
	tries.await(t, 2)
	if d := time.Since(began); d > 14*time.Second { // asynq's own delay is 15s or more
		t.Errorf("it came back after %v", d)
	}
}

func TestSkipEndsABusyTaskAsDone(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	var tries attempts
	var r runs
	f.run(t, quick(), f.guard(t), tries.key, &r, asynqmw.OnBusy(asynqmw.Skip))
	f.enqueue(t, "x", asynq.MaxRetry(0), asynq.Retention(time.Hour))
	eventually(t, "x is completed", func() bool {
		task := f.task("x")
		return task != nil && task.State == asynq.TaskStateCompleted
	})
	f.wantNoTrace(t)
	if r.done.Load() != 0 {
		t.Error("the handler ran")
	}
}

func TestSkipDropsATaskThatItsOwnAbandonedAttemptKeepsBusy(t *testing.T) {
	f := newFleet(t)
	var r runs
	stubborn := make(chan struct{})
	defer close(stubborn)
	r.work = func(context.Context, *asynq.Task) error {
		<-stubborn // also after the end of ctx
		return errors.New("in vain after all")
	}
	f.run(t, quick(), f.guard(t), asynqmw.TaskID(), &r, asynqmw.OnBusy(asynqmw.Skip))
	f.enqueue(t, "x", asynq.MaxRetry(3), asynq.Timeout(2*time.Second))
	eventually(t, "x is gone", func() bool { return f.task("x") == nil })
	if q := f.queue(t); q.Failed != 1 || r.done.Load() != 0 {
		t.Errorf("%d failures, %d runs came to a good end, want 1, that of the Timeout, and none", q.Failed, r.done.Load())
	}
}

func TestDiscardDeletesABusyTask(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	var tries attempts
	var r runs
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	f.run(t, cfg, f.guard(t), tries.key, &r, asynqmw.OnBusy(asynqmw.Discard))
	f.enqueue(t, "x", asynq.MaxRetry(3), asynq.Retention(time.Hour))
	eventually(t, "x is gone", func() bool { return f.task("x") == nil })
	f.wantNoTrace(t)
	errs.wantNothing(t)
	if r.done.Load() != 0 {
		t.Error("the handler ran")
	}
}

func TestWaitBeyondTheTimeoutEndsInDeferral(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	var tries attempts
	var r runs
	f.run(t, quick(), f.guard(t, guard.Wait(time.Minute)), tries.key, &r, soon)
	f.enqueue(t, "x", asynq.MaxRetry(1), asynq.Timeout(4*time.Second))
	tries.await(t, 2)
	if task := f.task("x"); task.Retried != 0 {
		t.Errorf("%d retries used up", task.Retried)
	}
	release()
	r.await(t, 1)
	f.wantNoTrace(t)
}
