package asynqmw_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
)

func TestSlowKeyFuncCostsACloneNothingOfItsTimeout(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	key := func(context.Context, *asynq.Task) (string, error) {
		time.Sleep(1100 * time.Millisecond)
		return "k", nil
	}
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), key, asynqmw.WithClient(f.client), asynqmw.DeferFor(time.Hour))(&runs{}))
	f.enqueue(t, "x", asynq.MaxRetry(0), asynq.Timeout(7*time.Second))
	eventually(t, "the clone is there", func() bool { return len(f.clones(t, "default", "x")) == 1 })
	if got := f.clones(t, "default", "x")[0].Timeout; got != 7*time.Second {
		t.Errorf("the clone has the Timeout %v, want 7s", got)
	}
}

func TestTaskWaitsOnItsWorkerNearItsDeadlineAndNamesTheHolder(t *testing.T) {
	t.Parallel()
	for _, retries := range []int{0, 3} {
		for _, freed := range []bool{true, false} {
			t.Run(fmt.Sprintf("retries=%d,freed=%v", retries, freed), func(t *testing.T) {
				f := newFleet(t)
				release := hold(t, f.guard(t), "k")
				var tries attempts
				var r runs
				errs := newErrorLog()
				cfg := quick()
				cfg.ErrorHandler = errs
				cfg.DelayedTaskCheckInterval = 5 * time.Second // it would come back too late
				f.serve(t, asynqmw.Configure(cfg), asynqmw.New(f.guard(t), tries.key,
					asynqmw.WithClient(f.client), asynqmw.WithInspector(f.inspector))(&r))
				f.enqueue(t, "x", asynq.MaxRetry(retries), asynq.Deadline(time.Now().Add(8*time.Second)))
				tries.await(t, 1)
				if freed {
					time.Sleep(300 * time.Millisecond)
					release()
					r.await(t, 1)
					f.wantNoTrace(t)
					errs.wantNothing(t)
					if tries.Load() != 1 {
						t.Errorf("%d attempts, want 1", tries.Load())
					}
					return
				}
				if err := errs.next(t); !errors.Is(err, guard.ErrBusy) {
					t.Errorf("the ErrorHandler got %v, want ErrBusy", err)
				}
				eventually(t, "x is archived", func() bool { return f.task("x").State == asynq.TaskStateArchived })
				if task := f.task("x"); !strings.Contains(task.LastErr, "held by") || task.Retried != 0 || f.queue(t).Size != 1 {
					t.Errorf("last error %q, want the holder in it; %d retries used up; %d tasks, want no clone",
						task.LastErr, task.Retried, f.queue(t).Size)
				}
			})
		}
	}
}

// A task is due early enough before its Deadline, however long it should rest.
func TestDeferredTaskComesBackBeforeItsDeadline(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	var tries attempts
	var r runs
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, asynqmw.WithClient(f.client), asynqmw.DeferFor(time.Hour))(&r))
	f.enqueue(t, "none", asynq.MaxRetry(0), asynq.Deadline(time.Now().Add(8*time.Second)))
	f.enqueue(t, "one", asynq.MaxRetry(1), asynq.Deadline(time.Now().Add(8*time.Second)))
	tries.await(t, 2)
	eventually(t, "both rest", func() bool { q := f.queue(t); return q.Scheduled == 1 && q.Retry == 1 })
	release()
	r.await(t, 2)
	f.wantNoTrace(t)
}

func TestInspectorGivesACloneAllLimitsOfItsTask(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	var tries attempts
	mux := asynq.NewServeMux()
	opts := []asynqmw.Option{asynqmw.WithClient(f.client), asynqmw.DeferFor(time.Hour)}
	mux.Handle("guess", asynqmw.New(f.guard(t), tries.key, opts...)(&runs{}))
	mux.Handle("ask", asynqmw.New(f.guard(t), tries.key, append(opts, asynqmw.WithInspector(f.inspector))...)(&runs{}))
	f.serve(t, asynqmw.Configure(quick()), mux)
	deadline := time.Now().Add(24 * time.Hour).Truncate(time.Second)
	for _, how := range []string{"guess", "ask"} {
		if _, err := f.client.Enqueue(asynq.NewTask(how, nil), asynq.TaskID(how), asynq.MaxRetry(0),
			asynq.Timeout(time.Minute), asynq.Deadline(deadline), asynq.Retention(time.Hour)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the clone is there", func() bool { return len(f.clones(t, "default", how)) == 1 })
	}
	asked := f.clones(t, "default", "ask")[0]
	if asked.Timeout != time.Minute || !asked.Deadline.Equal(deadline) || asked.Retention != time.Hour {
		t.Errorf("Timeout %v, Deadline %v, Retention %v; want 1m, %v, 1h", asked.Timeout, asked.Deadline, asked.Retention, deadline)
	}
	guessed := f.clones(t, "default", "guess")[0]
	if d := time.Until(guessed.Deadline); d > time.Minute || d < 0 || guessed.Timeout != 0 || guessed.Retention != 0 {
		t.Errorf("without an Inspector: Timeout %v, Deadline in %v, Retention %v; want the end of the attempt alone",
			guessed.Timeout, d, guessed.Retention)
	}
}

func TestInspectorDefersAShortTimeoutWithADeadline(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	var tries attempts
	var r runs
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, soon,
		asynqmw.WithClient(f.client), asynqmw.WithInspector(f.inspector))(&r))
	for i := range 2 {
		f.enqueue(t, fmt.Sprint(i), asynq.MaxRetry(i), asynq.Timeout(3*time.Second), asynq.Deadline(time.Now().Add(24*time.Hour)))
	}
	tries.await(t, 6)
	release()
	r.await(t, 2)
	f.wantNoTrace(t)
}
