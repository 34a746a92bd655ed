package asynqmw_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// asynq keeps 10 000 archived tasks of a queue and deletes the others for good.
func TestMistakeInADeploymentLosesNoTask(t *testing.T) {
	t.Parallel()
	for name, mistake := range map[string]struct {
		tasks  int
		key    asynqmw.KeyFunc
		config func(*asynqmw.Middleware, asynq.Config) asynq.Config
	}{
		"misspelt field": {12000, asynqmw.PayloadField("order_id"), (*asynqmw.Middleware).Config},
		"panic":          {200, func(context.Context, *asynq.Task) (string, error) { panic("a bug") }, (*asynqmw.Middleware).Config},
		"no Config": {200, asynqmw.PayloadField("orderId"), func(_ *asynqmw.Middleware, cfg asynq.Config) asynq.Config {
			return cfg
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			f.enqueueOrders(t, mistake.tasks)
			var wrong, right runs
			cfg := quick()
			cfg.RetryDelayFunc = nil
			mw := middleware(t, f.guard(t), mistake.key, f.withRedis())
			server := f.serve(t, mistake.config(mw, cfg), mw.Handler(&wrong))
			within(t, 10*waitLimit, "all have been tried", func() bool { return mw.KeyErrors() >= int64(mistake.tasks) })
			server.Shutdown()
			if q := f.queue(t); q.Size != mistake.tasks || q.Archived != 0 || wrong.done.Load() != 0 {
				t.Fatalf("of %d tasks %d are there, %d archived, %d ran", mistake.tasks, q.Size, q.Archived, wrong.done.Load())
			}
			f.run(t, cfg, f.guard(t), asynqmw.PayloadField("orderId"), &right, f.withRedis())
			_, err1 := f.inspector.RunAllRetryTasks("default")
			_, err2 := f.inspector.RunAllScheduledTasks("default")
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			within(t, 10*waitLimit, "all have run", func() bool { return right.done.Load() >= int64(mistake.tasks) && f.queue(t).Size == 0 })
		})
	}
}

// enqueueOrders enqueues n tasks of type "t" with different payloads, half of them
// without retries.
func (f *fleet) enqueueOrders(t *testing.T, n int) {
	t.Helper()
	var hands sync.WaitGroup
	for hand := range 8 {
		hands.Go(func() {
			for i := hand; i < n; i += 8 {
				if _, err := f.client.Enqueue(asynq.NewTask("t", fmt.Appendf(nil, `{"orderId":%d}`, i)), asynq.MaxRetry(i%2)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	hands.Wait()
}

func TestKeyErrorIsRetriedAsAnErrorOfTheHandler(t *testing.T) {
	f := newFleet(t)
	down := errors.New("the database is down")
	keys := map[string]asynqmw.KeyFunc{
		"empty":   fixed(""),
		"control": fixed("a\nb"),
		"long":    fixed(strings.Repeat("k", 1000)),
		"missing": asynqmw.PayloadField("sku"),
		"fails":   func(context.Context, *asynq.Task) (string, error) { return "", down },
		"panics":  func(context.Context, *asynq.Task) (string, error) { panic(down) },
	}
	var r runs
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	f.run(t, cfg, f.guard(t), func(ctx context.Context, task *asynq.Task) (string, error) {
		if retried, _ := asynq.GetRetryCount(ctx); retried == 0 {
			return keys[task.Type()](ctx, task)
		}
		return "k", nil
	}, &r)
	for name := range keys {
		f.enqueueTask(t, asynq.NewTask(name, []byte(`{"id":1}`)), asynq.MaxRetry(1))
		err := errs.next(t)
		if !errors.Is(err, guard.ErrInvalidKey) && !strings.Contains(err.Error(), down.Error()) || name == "panics" && !strings.Contains(err.Error(), "keyerror_test.go:") {
			t.Errorf("%s: the ErrorHandler got %v, want what is wrong with the key", name, err)
		}
	}
	r.await(t, int64(len(keys)))
	if q := f.queue(t); q.Failed != len(keys) || q.Archived != 0 {
		t.Errorf("%d failures, %d archived, want %d and none", q.Failed, q.Archived, len(keys))
	}
}

// It is not parallel, as it sets the default logger.
func TestKeyErrorsAreLoggedOnceASecondAndCounted(t *testing.T) {
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]int{}
	mw := middleware(t, g, asynqmw.PayloadField("sku"), asynqmw.OnKeyError(func(_ context.Context, taskType string) { told[taskType]++ }))
	ctx := mw.Config(asynq.Config{}).BaseContext()
	handler := mw.Handler(&runs{})
	began := time.Now()
	for range 1000 {
		if err := handler.ProcessTask(ctx, asynq.NewTask("order:ship", nil)); !errors.Is(err, guard.ErrInvalidKey) {
			t.Fatalf("%v, want ErrInvalidKey", err)
		}
	}
	most := 1 + int(time.Since(began)/time.Second)
	if n := strings.Count(log.String(), "level=ERROR"); n < 1 || n > most || !strings.Contains(log.String(), "type=order:ship") {
		t.Errorf("%d errors logged, want 1 to %d, with the type:\n%s", n, most, &log)
	}
	if n := mw.KeyErrors(); n != 1000 || told["order:ship"] != 1000 {
		t.Errorf("%d key errors, told of %v, want 1000", n, told)
	}
}

func TestForgottenConfigIsAClearErrorAndRunsNothing(t *testing.T) {
	f := newFleet(t)
	var r runs
	errs := newErrorLog()
	cfg := quick()
	cfg.ErrorHandler = errs
	mw := middleware(t, f.guard(t), fixed("k"), f.withRedis())
	server := f.serve(t, cfg, mw.Handler(&r))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	if err := errs.next(t); !errors.Is(err, asynqmw.ErrNotConfigured) || !strings.Contains(err.Error(), "Middleware.Config") || strings.Contains(err.Error(), "no key") {
		t.Errorf("the ErrorHandler got %v, want ErrNotConfigured", err)
	}
	eventually(t, "a clone has replaced x", func() bool { return len(f.clones(t, "default", "x")) == 1 && f.task("x") == nil })
	server.Shutdown()
	if r.done.Load() != 0 {
		t.Error("the handler ran")
	}
	f.serve(t, mw.Config(cfg), mw.Handler(&r))
	if _, err := f.inspector.RunAllScheduledTasks("default"); err != nil {
		t.Fatal(err)
	}
	r.await(t, 1)
}
