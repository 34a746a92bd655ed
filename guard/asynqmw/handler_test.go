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

func TestHandlerThatIgnoresItsTimeoutNeverRunsTwiceAtOnce(t *testing.T) {
	t.Parallel()
	for name, maxRetry := range map[string]int{"deferred": 5, "clone": 1} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			opts := []asynqmw.Option{soon}
			if name == "clone" {
				opts = append(opts, f.withRedis())
			}
			var tries attempts
			stubborn := make(chan struct{})
			first := make(chan struct{}, 1)
			first <- struct{}{}
			r := &runs{work: func(context.Context, *asynq.Task) error {
				select {
				case <-first:
					<-stubborn // also after the end of ctx
				default:
				}
				return nil
			}}
			errs := newErrorLog()
			cfg := quick()
			cfg.ErrorHandler = errs
			f.run(t, cfg, f.guard(t, guard.TTL(3*time.Second)), tries.key, r, opts...)
			f.enqueue(t, "x", asynq.MaxRetry(maxRetry), asynq.Timeout(5*time.Second))
			if err := errs.next(t); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the ErrorHandler got %v, want the Timeout", err)
			}
			tries.await(t, 2)                   // the retry, which finds the key busy
			time.Sleep(3500 * time.Millisecond) // longer than the lease lives without renewal
			if now, most := r.now.Load(), r.most.Load(); now != 1 || most != 1 {
				t.Errorf("%d runs now, at most %d at once, want the stubborn one alone", now, most)
			}
			close(stubborn)
			r.await(t, 2)
			if q := f.queue(t); r.most.Load() != 1 || q.Failed != 1 || q.Archived != 0 {
				t.Errorf("at most %d runs at once, %d failures, %d archived; want 1, that of the Timeout, none",
					r.most.Load(), q.Failed, q.Archived)
			}
		})
	}
}

func TestLostLeaseIsAFailureAndRetried(t *testing.T) {
	f := newFleet(t)
	own := errors.New("own error")
	cases := map[string]error{
		"nothing": nil, "own": own,
		"skip": fmt.Errorf("%w: %w", own, asynq.SkipRetry), "revoke": fmt.Errorf("%w: %w", own, asynq.RevokeTask),
	}
	r := &runs{work: func(ctx context.Context, _ *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		if retried, _ := asynq.GetRetryCount(ctx); retried > 0 {
			return nil
		}
		if err := f.admin.Del(context.WithoutCancel(ctx), "guard:"+guard.Key("task", "default", id)).Err(); err != nil {
			t.Error(err)
		}
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, guard.ErrLost) {
			t.Errorf("the handler's context ended by %v, want ErrLost", cause)
		}
		return cases[id]
	}}
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	f.run(t, cfg, f.guard(t, guard.TTL(2*time.Second)), asynqmw.TaskID(), r)
	for id := range cases {
		f.enqueue(t, id, asynq.MaxRetry(1))
	}
	owns := 0
	for range cases {
		err := errs.next(t)
		var e *guard.Error
		if !errors.Is(err, guard.ErrLost) || !errors.As(err, &e) {
			t.Errorf("the ErrorHandler got %v, want ErrLost", err)
		}
		if strings.Contains(err.Error(), own.Error()) {
			owns++
		}
	}
	if owns != len(cases)-1 {
		t.Errorf("%d errors have the text of the handler, want %d", owns, len(cases)-1)
	}
	r.await(t, int64(len(cases))+1) // "nothing" counts twice
	if q := f.queue(t); q.Failed != len(cases) || q.Archived != 0 {
		t.Errorf("%d failures, %d archived, want %d and none", q.Failed, q.Archived, len(cases))
	}
}

func TestHeldTooLongIsAFailureAndRetried(t *testing.T) {
	f := newFleet(t)
	r := &runs{work: func(ctx context.Context, _ *asynq.Task) error {
		if retried, _ := asynq.GetRetryCount(ctx); retried == 0 {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	g := f.guard(t, guard.MaxHold(time.Second), guard.TTL(3*time.Second))
	f.run(t, cfg, g, asynqmw.TaskID(), r, soon)
	f.enqueue(t, "x", asynq.MaxRetry(1))
	if err := errs.next(t); !errors.Is(err, guard.ErrMaxHold) {
		t.Errorf("the ErrorHandler got %v, want ErrMaxHold", err)
	}
	r.await(t, 1)
}

func TestPanicReleasesTheKeyAndIsAFailure(t *testing.T) {
	f := newFleet(t)
	r := &runs{work: func(ctx context.Context, _ *asynq.Task) error {
		if retried, _ := asynq.GetRetryCount(ctx); retried == 0 {
			panic("a bug")
		}
		return nil
	}}
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	g := f.guard(t, guard.TTL(time.Hour)) // no expiry frees the key
	f.run(t, cfg, g, asynqmw.TaskID(), r, soon)
	f.enqueue(t, "x", asynq.MaxRetry(1))
	if err := errs.next(t); !asynq.IsPanicError(err) {
		t.Errorf("the ErrorHandler got %v, want the panic", err)
	}
	r.await(t, 1)
	eventually(t, "the key is free", func() bool {
		return f.admin.Exists(t.Context(), "guard:"+guard.Key("task", "default", "x")).Val() == 0
	})
}

func TestErrorsOfTheHandlerPassThroughUnchanged(t *testing.T) {
	f := newFleet(t)
	own := errors.New("own error")
	busyInside := &guard.Error{Op: "do", Key: "other", Kind: guard.ErrBusy} // of a Do of the handler's own
	lostInside := &guard.Error{Op: "do", Key: "other", Kind: guard.ErrLost, Err: asynq.SkipRetry}
	answers := map[string]error{
		"own": own, "skip": fmt.Errorf("no: %w", asynq.SkipRetry), "revoke": fmt.Errorf("no: %w", asynq.RevokeTask),
		"busy": busyInside, "skip, lost": lostInside, "skip, lost within": fmt.Errorf("no: %w", lostInside),
	}
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	f.run(t, cfg, f.guard(t), asynqmw.TaskID(), asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		if retried, _ := asynq.GetRetryCount(ctx); retried > 0 {
			return nil
		}
		return answers[id]
	}))
	for id, answer := range answers {
		f.enqueue(t, id, asynq.MaxRetry(1), asynq.Retention(time.Hour))
		if err := errs.next(t); err != answer {
			t.Errorf("the ErrorHandler got %v, want exactly %v", err, answer)
		}
		eventually(t, id+" has its way", func() bool {
			task := f.task(id)
			switch id {
			case "skip", "skip, lost", "skip, lost within":
				return task.State == asynq.TaskStateArchived && task.Retried == 0
			case "revoke":
				return task == nil
			}
			return task.State == asynq.TaskStateCompleted && task.Retried == 1
		})
	}
}
