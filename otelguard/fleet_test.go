package otelguard_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/httpmw"
	"github.com/jobguard/jobguard/internal/redistest"
)

// w3c is what carries the trace; a program sets it with otel.SetTextMapPropagator.
var w3c = propagation.TraceContext{}

// traced starts a server span for each request, as otelhttp does.
func traced(tracer trace.Tracer, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := w3c.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := tracer.Start(ctx, r.Method+" "+r.URL.Path, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// enqueue sends ctx's trace along with the task.
func enqueue(ctx context.Context, client *asynq.Client, taskType string, payload []byte) error {
	headers := propagation.MapCarrier{}
	w3c.Inject(ctx, headers)
	_, err := client.EnqueueContext(ctx, asynq.NewTaskWithHeaders(taskType, payload, headers))
	return err
}

// continued takes the trace up again in the worker, before the guard.
func continued(tracer trace.Tracer) asynq.MiddlewareFunc {
	return func(next asynq.Handler) asynq.Handler {
		return asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
			ctx = w3c.Extract(ctx, propagation.MapCarrier(task.Headers()))
			ctx, span := tracer.Start(ctx, "process "+task.Type(), trace.WithSpanKind(trace.SpanKindConsumer))
			defer span.End()
			return next.ProcessTask(ctx, task)
		})
	}
}

func TestOneTraceFromTheRequestToTheRunInItsWay(t *testing.T) {
	redis := redistest.Start(t)
	conn := asynq.RedisClientOpt{Addr: redis.Addr()}
	client := asynq.NewClient(conn)
	t.Cleanup(func() { _ = client.Close() })
	web, worker := newTelemetry(), newTelemetry()

	// Two requests sell the same item. The first holds the key until the second
	// is known to wait for it; each enqueues a shipment.
	selling, waiting := make(chan struct{}), make(chan struct{})
	first := true
	sell := func(w http.ResponseWriter, r *http.Request) {
		if first { // under the key: one at a time
			first = false
			close(selling)
			<-waiting
		}
		if err := enqueue(r.Context(), client, "ship", []byte(`{"sku":"42"}`)); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusAccepted)
	}
	// Two replicas, each with a guard of its own.
	var replicas []http.Handler
	for range 2 {
		g := onRedis(t, redis.Addr(), guard.Observe(web))
		mux := http.NewServeMux()
		mux.Handle("POST /stock/{sku}", httpmw.New(g.With(guard.Forever()), httpmw.PathValue("sku"))(http.HandlerFunc(sell)))
		replicas = append(replicas, traced(web.tracer.Tracer("web"), mux))
	}
	request := func(replica http.Handler) <-chan int {
		done := make(chan int, 1)
		go func() {
			rec := httptest.NewRecorder()
			replica.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/stock/42", http.NoBody))
			done <- rec.Code
		}()
		return done
	}
	one := request(replicas[0])
	select {
	case <-selling:
	case status := <-one:
		t.Fatalf("the first is answered %d before it sells", status)
	case <-time.After(patience):
		t.Fatal("the first does not sell")
	}
	two := request(replicas[1])
	eventually(t, "the second request waits", func() bool {
		n, _ := web.sum(t, "jobguard.waiters.active", named("POST /stock/{sku}"))
		return n == 1
	})
	c := redis.Client(t)
	eventually(t, "it stands in line", func() bool {
		lines, _ := c.Keys(t.Context(), "guard:w:*").Result()
		return len(lines) == 1
	})
	close(waiting)
	if a, b := await(t, "the first answer", one), await(t, "the second", two); a != http.StatusAccepted || b != http.StatusAccepted {
		t.Fatalf("answered %d and %d", a, b)
	}

	// A worker ships both.
	shipped := make(chan struct{}, 2)
	mw, err := asynqmw.New(onRedis(t, redis.Addr(), guard.Observe(worker), guard.Forever()), asynqmw.PayloadField("sku"))
	if err != nil {
		t.Fatal(err)
	}
	mux := asynq.NewServeMux()
	mux.Use(continued(worker.tracer.Tracer("worker")), mw.Handler)
	mux.HandleFunc("ship", func(ctx context.Context, _ *asynq.Task) error {
		_, span := worker.tracer.Tracer("worker").Start(ctx, "write")
		span.End()
		shipped <- struct{}{}
		return nil
	})
	server := asynq.NewServer(conn, mw.Config(asynq.Config{
		Concurrency: 1, TaskCheckInterval: 10 * time.Millisecond, LogLevel: asynq.FatalLevel,
	}))
	if err := server.Start(mux); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case <-shipped:
		case <-time.After(patience):
			t.Fatal("nothing was shipped")
		}
	}
	server.Shutdown()

	requests := web.all("POST /stock/42")
	if len(requests) != 2 {
		t.Fatalf("%d requests", len(requests))
	}
	var blocked, blocking tracetest.SpanStub
	for _, r := range requests {
		acquire := childOf(t, web, r, "acquire POST /stock/{sku}")
		run := childOf(t, web, r, "run POST /stock/{sku}")
		process := childOf(t, worker, run, "process ship")
		taken := childOf(t, worker, process, "acquire ship")
		ran := childOf(t, worker, process, "run ship")
		written := childOf(t, worker, ran, "write")
		for _, s := range []tracetest.SpanStub{acquire, run, process, taken, ran, written} {
			if s.Status.Code != codes.Unset {
				t.Errorf("%s has status %v", s.Name, s.Status)
			}
		}
		if attr(acquire, "jobguard.outcome").AsString() != "acquired" || attr(ran, "jobguard.outcome").AsString() != "ok" {
			t.Errorf("outcomes: %v, %v", acquire.Attributes, ran.Attributes)
		}
		if attr(acquire, "jobguard.contended").AsBool() {
			blocked = acquire
		} else {
			blocking = acquire
		}
	}
	if len(blocked.Links) != 1 || len(blocking.Links) != 0 {
		t.Fatalf("links %v and %v, want one of the blocked acquire", blocked.Links, blocking.Links)
	}
	if blocked.Links[0].SpanContext.SpanID() != blocking.SpanContext.SpanID() ||
		blocked.Links[0].SpanContext.TraceID() != blocking.SpanContext.TraceID() {
		t.Errorf("the link leads to %v, want %v", blocked.Links[0].SpanContext, blocking.SpanContext)
	}
}

// childOf returns the only span of that name under parent.
func childOf(t *testing.T, tel *telemetry, parent tracetest.SpanStub, name string) (found tracetest.SpanStub) {
	t.Helper()
	n := 0
	for _, s := range tel.all(name) {
		if s.Parent.SpanID() == parent.SpanContext.SpanID() && s.SpanContext.TraceID() == parent.SpanContext.TraceID() {
			found = s
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%q has %d children %q, want one", parent.Name, n, name)
	}
	return found
}

// patience is longer than a busy machine takes.
const patience = 30 * time.Second

// await receives from c. What a failure keeps from coming fails the test, and does not hold it up.
func await[T any](t *testing.T, what string, c <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(patience):
		t.Fatalf("in vain waited for %s", what)
	}
	return got
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never happens that " + what)
		}
	}
}
