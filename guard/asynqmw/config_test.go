package asynqmw_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/guardtest"
)

type tenantKey struct{}

func TestHooksThatWereThereAreAskedOfAllButDeferrals(t *testing.T) {
	f := newFleet(t)
	own := errors.New("own error")
	var delays, judged atomic.Int64
	check := func(err error) {
		if err != own {
			t.Errorf("a hook was given %v, want exactly %v", err, own)
		}
	}
	errs := newErrorLog()
	cfg := quick()
	cfg.IsFailure = func(err error) bool {
		judged.Add(1)
		check(err)
		return false
	}
	cfg.RetryDelayFunc = func(_ int, err error, _ *asynq.Task) time.Duration {
		delays.Add(1)
		check(err)
		return 0
	}
	cfg.ErrorHandler = errs
	cfg.BaseContext = func() context.Context { return context.WithValue(context.Background(), tenantKey{}, "acme") }
	var tries attempts
	var fails atomic.Int64
	fails.Store(2)
	r := &runs{work: func(ctx context.Context, _ *asynq.Task) error {
		if ctx.Value(tenantKey{}) != "acme" {
			t.Error("BaseContext does not reach the handler")
		}
		if fails.Add(-1) >= 0 {
			return own
		}
		return nil
	}}
	release := hold(t, f.guard(t), "k")
	f.run(t, cfg, f.guard(t), tries.key, r, soon)
	f.enqueue(t, "x", asynq.MaxRetry(1), asynq.Retention(time.Hour))
	tries.await(t, 3)
	release()
	r.await(t, 1)
	check(errs.next(t))
	check(errs.next(t))
	errs.wantNothing(t)
	eventually(t, "x is completed", func() bool { return f.task("x").State == asynq.TaskStateCompleted })
	if task := f.task("x"); task.Retried != 0 || judged.Load() != 2 || delays.Load() != 2 {
		t.Errorf("%d retries used up, %d errors judged, %d delays asked for; want 0, 2, 2",
			task.Retried, judged.Load(), delays.Load())
	}
}

func TestConfigKeepsWhatIsSetAndAsynqsDefaults(t *testing.T) {
	t.Parallel()
	mw := middleware(t, &guard.Guard{}, asynqmw.TaskID())
	cfg := mw.Config(asynq.Config{DelayedTaskCheckInterval: 3 * time.Second, TaskCheckInterval: 4 * time.Second, Concurrency: 7})
	if cfg.DelayedTaskCheckInterval != 3*time.Second || cfg.TaskCheckInterval != 4*time.Second || cfg.Concurrency != 7 || cfg.ErrorHandler != nil {
		t.Errorf("Config made %+v", cfg)
	}
	if cfg := mw.Config(asynq.Config{}); cfg.DelayedTaskCheckInterval != time.Second || cfg.TaskCheckInterval != 0 {
		t.Errorf("by default Config makes %+v", cfg)
	}
	withRedis := middleware(t, &guard.Guard{}, asynqmw.TaskID(), asynqmw.WithRedis(asynq.RedisClientOpt{Addr: "127.0.0.1:1"}))
	if d := withRedis.Config(asynq.Config{}).TaskCheckInterval; d != 10*time.Millisecond {
		t.Errorf("with Redis TaskCheckInterval is %v", d)
	}
	own := errors.New("own error")
	if !cfg.IsFailure(own) || cfg.IsFailure(nil) {
		t.Error("IsFailure is not asynq's default for other errors")
	}
	if d := cfg.RetryDelayFunc(0, own, nil); d < 15*time.Second || d > 45*time.Second {
		t.Errorf("the delay of another error is %v, want asynq's default", d)
	}
}

func TestDeferralThatOtherMiddlewareWrapsIsADeferral(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	var tries attempts
	var r runs
	mw := middleware(t, f.guard(t), tries.key, soon, f.withRedis())
	inner := mw.Handler(&r)
	f.serve(t, mw.Config(cfg), asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		if err := inner.ProcessTask(ctx, task); err != nil {
			return fmt.Errorf("further out: %w", err)
		}
		return nil
	}))
	f.enqueue(t, "none", asynq.MaxRetry(0))
	f.enqueue(t, "one", asynq.MaxRetry(1))
	tries.await(t, 6)
	release()
	r.await(t, 2)
	f.wantNoTrace(t)
	errs.wantNothing(t)
}

func TestUnknownTypeIsNotFoundEvenWithoutAKey(t *testing.T) {
	f := newFleet(t)
	mux := asynq.NewServeMux()
	mw := middleware(t, f.guard(t), asynqmw.PayloadField("id"))
	mux.Use(mw.Handler)
	mux.HandleFunc("known", func(context.Context, *asynq.Task) error { return nil })
	errs := newErrorLog()
	cfg := mw.Config(quick())
	cfg.ErrorHandler = errs
	cfg.RetryDelayFunc = func(int, error, *asynq.Task) time.Duration { return time.Hour }
	f.serve(t, cfg, mux)
	f.enqueue(t, "x", asynq.MaxRetry(1)) // of type "t"; another server of the fleet may know it
	if err := errs.next(t); !errors.Is(err, asynq.ErrHandlerNotFound) {
		t.Errorf("the ErrorHandler got %v, want ErrHandlerNotFound", err)
	}
	eventually(t, "x is to be retried", func() bool { return f.task("x").State == asynq.TaskStateRetry })
}

type names struct {
	guard.Observer
	seen chan guard.AcquireStart
}

func newNames() names {
	return names{guard.LogObserver(slog.New(slog.DiscardHandler)), make(chan guard.AcquireStart, 1000)}
}

func (n names) next(t *testing.T) guard.AcquireStart {
	t.Helper()
	select {
	case a := <-n.seen:
		return a
	case <-time.After(waitLimit):
		t.Fatal("the key was not asked for")
		return guard.AcquireStart{}
	}
}

func (n names) AcquireStart(ctx context.Context, a guard.AcquireStart) context.Context {
	n.seen <- a
	return ctx
}

func TestTaskTypeAndTryingOnceAreDefaultsThatTheGuardOverrides(t *testing.T) {
	t.Parallel()
	n := newNames()
	g, err := guard.New(guardtest.NewStore(), guard.Observe(n))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []*guard.Guard{g, g.With(guard.Name("mine"), guard.Wait(time.Second))} {
		mw := middleware(t, g, byType)
		ctx := mw.Config(asynq.Config{}).BaseContext()
		if err := mw.Handler(&runs{}).ProcessTask(ctx, asynq.NewTask("t", nil)); err != nil {
			t.Error(err)
		}
	}
	if a := n.next(t); a.Name != "t" || a.Wait != 0 || a.Key != "t" {
		t.Errorf("by default: %+v", a)
	}
	if a := n.next(t); a.Name != "mine" || a.Wait != time.Second {
		t.Errorf("of a guard that says so: %+v", a)
	}
}
