package asynqmw_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestForgottenConfigureIsAClearErrorAndBurnsNoRetry(t *testing.T) {
	f := newFleet(t)
	var tries attempts
	var r runs
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	handler := asynqmw.New(f.guard(t), tries.key)(&r)
	server := f.serve(t, cfg, handler)
	f.enqueue(t, "x", asynq.MaxRetry(1))
	if err := errs.next(t); !errors.Is(err, asynqmw.ErrNotConfigured) {
		t.Errorf("the ErrorHandler got %v, want ErrNotConfigured", err)
	}
	eventually(t, "x is archived", func() bool { return f.task("x").State == asynq.TaskStateArchived })
	if task := f.task("x"); task.Retried != 0 || !strings.Contains(task.LastErr, "asynqmw.Configure") {
		t.Errorf("%d retries used up, last error %q", task.Retried, task.LastErr)
	}
	if r.done.Load() != 0 {
		t.Error("the handler ran")
	}

	server.Shutdown()
	f.serve(t, asynqmw.Configure(cfg), handler)
	if err := f.inspector.RunTask("default", "x"); err != nil {
		t.Fatal(err)
	}
	r.await(t, 1)
}

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
	f.serve(t, asynqmw.Configure(cfg), asynqmw.New(f.guard(t), tries.key, soon)(r))
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

// ErrBusy can also come from a Do inside the handler: the hook decides about that.
func TestIsFailureThatTakesBusyForAFailureIsNotAskedOfDeferrals(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	var judged atomic.Int64
	cfg := quick()
	cfg.IsFailure = func(err error) bool {
		judged.Add(1)
		return errors.Is(err, guard.ErrBusy)
	}
	var tries attempts
	r := &runs{work: func(ctx context.Context, _ *asynq.Task) error {
		if retried, _ := asynq.GetRetryCount(ctx); retried == 0 {
			return &guard.Error{Op: "do", Key: "other", Kind: guard.ErrBusy}
		}
		return nil
	}}
	f.serve(t, asynqmw.Configure(cfg), asynqmw.New(f.guard(t), tries.key, soon)(r))
	f.enqueue(t, "x", asynq.MaxRetry(2), asynq.Retention(time.Hour))
	tries.await(t, 3)
	if task := f.task("x"); task.Retried != 0 || judged.Load() != 0 {
		t.Errorf("%d retries used up, %d deferrals judged, want none", task.Retried, judged.Load())
	}
	f.wantNoTrace(t)
	release()
	r.await(t, 1)
	eventually(t, "x is completed", func() bool { return f.task("x").State == asynq.TaskStateCompleted })
	if q := f.queue(t); f.task("x").Retried != 1 || q.Failed != 1 || judged.Load() != 1 {
		t.Errorf("%d retries used up, %d failures, %d errors judged, want 1 of each", f.task("x").Retried, q.Failed, judged.Load())
	}
}

func TestConfigureKeepsWhatIsSetAndAsynqsDefaults(t *testing.T) {
	t.Parallel()
	cfg := asynqmw.Configure(asynq.Config{DelayedTaskCheckInterval: 3 * time.Second, Concurrency: 7})
	if cfg.DelayedTaskCheckInterval != 3*time.Second || cfg.Concurrency != 7 || cfg.ErrorHandler != nil {
		t.Errorf("Configure made %+v", cfg)
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
	inner := asynqmw.New(f.guard(t), tries.key, soon, asynqmw.WithClient(f.client))(&r)
	f.serve(t, asynqmw.Configure(cfg), asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
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

func TestConfigureTwiceIsAsGoodAsOnce(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	var tries attempts
	var r runs
	f.serve(t, asynqmw.Configure(asynqmw.Configure(cfg)), asynqmw.New(f.guard(t), tries.key, soon, asynqmw.WithClient(f.client))(&r))
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
	mux.Use(asynqmw.New(f.guard(t), asynqmw.PayloadField("id")))
	mux.HandleFunc("known", func(context.Context, *asynq.Task) error { return nil })
	errs := newErrorLog()
	cfg := asynqmw.Configure(quick())
	cfg.ErrorHandler = errs
	cfg.RetryDelayFunc = func(int, error, *asynq.Task) time.Duration { return time.Hour }
	f.serve(t, cfg, mux)
	f.enqueue(t, "x", asynq.MaxRetry(1)) // of type "t"; another server of the fleet may know it
	if err := errs.next(t); !errors.Is(err, asynq.ErrHandlerNotFound) {
		t.Errorf("the ErrorHandler got %v, want ErrHandlerNotFound", err)
	}
	eventually(t, "x is to be retried", func() bool { return f.task("x").State == asynq.TaskStateRetry })
}

// The other middleware hides that the mux has no handler. A KeyFunc that makes keys
// for such tasks keeps them.
func TestUnknownTypeBehindAnotherMiddlewareIsGuardedLikeTheOthers(t *testing.T) {
	f := newFleet(t)
	mux := asynq.NewServeMux()
	mux.Use(asynqmw.New(f.guard(t), func(_ context.Context, task *asynq.Task) (string, error) {
		return string(task.Payload()), nil
	}))
	mux.Use(func(next asynq.Handler) asynq.Handler { return asynq.HandlerFunc(next.ProcessTask) })
	errs := newErrorLog()
	cfg := asynqmw.Configure(quick())
	cfg.ErrorHandler = errs
	cfg.RetryDelayFunc = func(int, error, *asynq.Task) time.Duration { return time.Hour }
	f.serve(t, cfg, mux)
	for _, c := range []struct {
		id, key string
		err     error
		state   asynq.TaskState
	}{
		{"x", "a key", asynq.ErrHandlerNotFound, asynq.TaskStateRetry},
		{"y", "", guard.ErrInvalidKey, asynq.TaskStateArchived},
	} {
		if _, err := f.client.EnqueueContext(t.Context(), asynq.NewTask("t", []byte(c.key)), asynq.TaskID(c.id), asynq.MaxRetry(1)); err != nil {
			t.Fatal(err)
		}
		if err := errs.next(t); !errors.Is(err, c.err) {
			t.Errorf("%s: the ErrorHandler got %v, want %v", c.id, err, c.err)
		}
		eventually(t, c.id+" is in the right state", func() bool { return f.task(c.id).State == c.state })
	}
}

func TestInvalidKeyIsArchivedAtOnce(t *testing.T) {
	f := newFleet(t)
	keys := map[string]asynqmw.KeyFunc{
		"empty":   func(context.Context, *asynq.Task) (string, error) { return "", nil },
		"control": func(context.Context, *asynq.Task) (string, error) { return "a\nb", nil },
		"missing": asynqmw.PayloadField("sku"),
	}
	mux := asynq.NewServeMux()
	var r runs
	for name, key := range keys {
		mux.Handle(name, asynqmw.New(f.guard(t), key)(&r))
	}
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	f.serve(t, asynqmw.Configure(cfg), mux)
	for name := range keys {
		if _, err := f.client.Enqueue(asynq.NewTask(name, []byte(`{"id":1}`)), asynq.TaskID(name)); err != nil {
			t.Fatal(err)
		}
		if err := errs.next(t); !errors.Is(err, guard.ErrInvalidKey) {
			t.Errorf("%s: the ErrorHandler got %v, want ErrInvalidKey", name, err)
		}
		eventually(t, name+" is archived", func() bool { return f.task(name).State == asynq.TaskStateArchived })
	}
	if r.done.Load() != 0 {
		t.Error("the handler ran without a key")
	}
}

func TestKeyFuncThatFailsIsRetried(t *testing.T) {
	f := newFleet(t)
	down := errors.New("the database is down")
	var r runs
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	f.serve(t, asynqmw.Configure(cfg), asynqmw.New(f.guard(t), func(ctx context.Context, _ *asynq.Task) (string, error) {
		if retried, _ := asynq.GetRetryCount(ctx); retried == 0 {
			return "", down
		}
		return "k", nil
	})(&r))
	f.enqueue(t, "x", asynq.MaxRetry(1))
	if err := errs.next(t); !errors.Is(err, down) {
		t.Errorf("the ErrorHandler got %v, want %v", err, down)
	}
	r.await(t, 1)
}

func TestKeyFuncThatPanicsIsRetried(t *testing.T) {
	f := newFleet(t)
	var r runs
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	f.serve(t, asynqmw.Configure(cfg), asynqmw.New(f.guard(t), func(ctx context.Context, _ *asynq.Task) (string, error) {
		if retried, _ := asynq.GetRetryCount(ctx); retried == 0 {
			panic("a bug")
		}
		return "k", nil
	})(&r))
	f.enqueue(t, "x", asynq.MaxRetry(1))
	if err := errs.next(t); !asynq.IsPanicError(err) {
		t.Errorf("the ErrorHandler got %v, want the panic", err)
	}
	r.await(t, 1)
}

// names records the names that keys were asked for under.
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

func TestSchedulersAreKnownByWhatTheyAreUnlessTheGuardHasAName(t *testing.T) {
	t.Parallel()
	n := newNames()
	g, err := guard.New(guardtest.NewStore(), guard.Observe(n))
	if err != nil {
		t.Fatal(err)
	}
	none := func() *asynq.Scheduler { return nil } // an error, once it leads
	if asynqmw.RunScheduler(t.Context(), g, "k", none) == nil || asynqmw.RunScheduler(t.Context(), g.With(guard.Name("mine")), "k", none) == nil {
		t.Error("RunScheduler() = nil without a Scheduler")
	}
	if asynqmw.RunPeriodicTaskManager(t.Context(), g, "k", func() (*asynq.PeriodicTaskManager, error) { return nil, nil }) == nil { //nolint:nilnil // the point
		t.Error("RunPeriodicTaskManager() = nil without a PeriodicTaskManager")
	}
	for _, want := range []string{"asynq Scheduler", "mine", "asynq PeriodicTaskManager"} {
		if a := n.next(t); a.Name != want {
			t.Errorf("observers got %q, want %q", a.Name, want)
		}
	}
}

func TestTaskTypeAndTryingOnceAreDefaultsThatTheGuardOverrides(t *testing.T) {
	t.Parallel()
	n := newNames()
	g, err := guard.New(guardtest.NewStore(), guard.Observe(n))
	if err != nil {
		t.Fatal(err)
	}
	ctx := asynqmw.Configure(asynq.Config{}).BaseContext()
	for _, g := range []*guard.Guard{g, g.With(guard.Name("mine"), guard.Wait(time.Second))} {
		if err := asynqmw.New(g, asynqmw.TaskType())(&runs{}).ProcessTask(ctx, asynq.NewTask("t", nil)); err != nil {
			t.Error(err)
		}
	}
	if a := n.next(t); a.Name != "t" || a.Wait != 0 || a.Key != "type:t" {
		t.Errorf("by default: %+v", a)
	}
	if a := n.next(t); a.Name != "mine" || a.Wait != time.Second {
		t.Errorf("of a guard that says so: %+v", a)
	}
}
