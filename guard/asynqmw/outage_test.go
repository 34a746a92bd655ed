package asynqmw_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestStoreDownDefersAndHeals(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]func(*fleet) []asynqmw.Option{
		"on its worker": func(*fleet) []asynqmw.Option { return nil },
		"clone":         func(f *fleet) []asynqmw.Option { return []asynqmw.Option{f.withRedis()} },
		"skip":          func(*fleet) []asynqmw.Option { return []asynqmw.Option{asynqmw.OnBusy(asynqmw.Skip)} },
		"discard":       func(*fleet) []asynqmw.Option { return []asynqmw.Option{asynqmw.OnBusy(asynqmw.Discard)} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			proxy := redistest.NewProxy(t, f.redis.Addr())
			g := guardAt(t, proxy.Addr(), guard.TTL(2*time.Second))
			var r runs
			errs := newErrorLog()
			cfg := quick()
			cfg.ErrorHandler = errs
			var tries attempts
			key := func(ctx context.Context, task *asynq.Task) (string, error) {
				if retries, _ := asynq.GetMaxRetry(ctx); retries > 0 {
					tries.Add(1) // attempts that can be deferred
				}
				return asynqmw.TaskID()(ctx, task)
			}
			proxy.Cut()
			f.run(t, cfg, g, key, &r, append(opts(f), soon)...)
			f.enqueue(t, "none", asynq.MaxRetry(0))
			f.enqueue(t, "one", asynq.MaxRetry(1))
			tries.await(t, 4)
			if task := f.task("one"); task == nil || task.Retried != 0 {
				t.Errorf("the task is %+v, want no retry used up", task)
			}
			proxy.Heal()
			r.await(t, 2)
			eventually(t, "the queue is empty", func() bool { return f.queue(t).Size == 0 })
			f.wantNoTrace(t)
			errs.wantNothing(t)
		})
	}
}

func TestGuardShutDownLosesNoTask(t *testing.T) {
	f := newFleet(t)
	g := f.guard(t)
	if err := g.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	var tries attempts
	var r runs
	server := f.run(t, quick(), g, tries.key, &r, soon)
	f.enqueue(t, "none", asynq.MaxRetry(0))
	f.enqueue(t, "one", asynq.MaxRetry(1))
	tries.await(t, 4) // one of them is that of "none"
	if task := f.task("one"); task.Retried != 0 {
		t.Errorf("%d retries used up", task.Retried)
	}
	server.Shutdown()
	if task := f.task("none"); task.State != asynq.TaskStatePending {
		t.Errorf("the last attempt is %v, want it back in the queue", task.State)
	}
	f.run(t, quick(), f.guard(t), tries.key, &r, soon)
	r.await(t, 2)
	f.wantNoTrace(t)
}

func TestServerShutdownPutsAWaitingLastAttemptBack(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	var tries attempts
	var r runs
	server := f.run(t, quick(), f.guard(t), tries.key, &r)
	f.enqueue(t, "x", asynq.MaxRetry(0))
	tries.await(t, 1)
	server.Shutdown()
	if task := f.task("x"); task.State != asynq.TaskStatePending {
		t.Errorf("the task is %v, want it back in the queue", task.State)
	}
	release()
	f.run(t, quick(), f.guard(t), tries.key, &r)
	r.await(t, 1)
	f.wantNoTrace(t)
}

func TestHandlerCancelledByTheGuardsShutdownDecidesTheOutcome(t *testing.T) {
	f := newFleet(t)
	own := errors.New("own error")
	answers := map[string]error{"fails": own, "is done": nil}
	var begun attempts
	first := asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		begun.Add(1)
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, guard.ErrClosed) {
			t.Errorf("the handler's context ended by %v, want ErrClosed", cause)
		}
		id, _ := asynq.GetTaskID(ctx)
		return answers[id]
	})
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	g := f.guard(t)
	server := f.run(t, cfg, g, asynqmw.TaskID(), first, soon)
	for id := range answers {
		f.enqueue(t, id, asynq.MaxRetry(1))
	}
	begun.await(t, 2)
	now, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Shutdown(now); err == nil {
		t.Error("Shutdown() = nil, want a word on the handlers that were cancelled")
	}
	if err := errs.next(t); err != own {
		t.Errorf("the ErrorHandler got %v, want exactly %v", err, own)
	}
	eventually(t, "one is done and one failed", func() bool { return f.task("is done") == nil && f.queue(t).Failed == 1 })
	server.Shutdown()
	if task := f.task("fails"); task == nil || task.Retried != 1 {
		t.Errorf("the task is %+v, want one retry used up", task)
	}
	errs.wantNothing(t)

	var r runs
	f.run(t, cfg, f.guard(t), asynqmw.TaskID(), &r, soon)
	r.await(t, 1)
	errs.wantNothing(t)
}
