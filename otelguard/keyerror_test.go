package otelguard_test

import (
	"context"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestTasksWithoutAKeyAreCountedByType(t *testing.T) {
	redis := redistest.Start(t)
	conn := asynq.RedisClientOpt{Addr: redis.Addr()}
	client := asynq.NewClient(conn)
	t.Cleanup(func() { _ = client.Close() })
	tel := newTelemetry()
	g := onRedis(t, redis.Addr(), guard.Observe(tel), guard.Name("orders"))
	mw, err := asynqmw.New(g, asynqmw.PayloadField("sku"), asynqmw.OnKeyError(tel.KeyError))
	if err != nil {
		t.Fatal(err)
	}
	server := asynq.NewServer(conn, mw.Config(asynq.Config{
		TaskCheckInterval: 10 * time.Millisecond, LogLevel: asynq.FatalLevel,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour },
	}))
	mux := asynq.NewServeMux()
	mux.Use(mw.Handler)
	done := make(chan struct{})
	for _, kind := range []string{"ship", "bill"} {
		mux.HandleFunc(kind, func(context.Context, *asynq.Task) error { close(done); return nil })
	}
	for kind, payloads := range map[string][]string{"ship": {`{"SKU":1}`, `{"SKU":2}`}, "bill": {`{"sku":3}`, `{}`}} {
		for _, payload := range payloads {
			if _, err := client.EnqueueContext(t.Context(), asynq.NewTask(kind, []byte(payload))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := server.Start(mux); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	count := func(kind string) int64 { n, _ := tel.sum(t, "jobguard.key.errors", named(kind)); return n }
	eventually(t, "all have been tried", func() bool { return count("ship") == 2 && count("bill") == 1 })
	await(t, "the task that has a key", done)
	if n := count("orders"); n != 0 {
		t.Errorf("%d are counted for the guard's name", n)
	}
}
