package asynqmw_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/internal/redistest"
)

// slowClient returns a client that reaches asynq's Redis through proxy and waits for
// replies as long as a test may take. It has enqueued before, so that the next
// command is the request itself.
func (f *fleet) slowClient(t *testing.T, proxy *redistest.Proxy) *asynq.Client {
	t.Helper()
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: proxy.Addr(), ReadTimeout: waitLimit})
	t.Cleanup(func() {
		proxy.Heal()
		_ = client.Close() // nothing more is written
	})
	if _, err := client.Enqueue(asynq.NewTask("t", nil), asynq.ProcessIn(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	return client
}

// finished waits until task x is gone or archived and reports whether it is gone.
func (f *fleet) finished(t *testing.T, id string) (gone bool) {
	t.Helper()
	eventually(t, id+" is gone or archived", func() bool {
		task := f.task(id)
		gone = task == nil
		return gone || task.State == asynq.TaskStateArchived
	})
	return gone
}

func TestLongWaitOfALastAttemptLeavesTimeForItsClone(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	client := f.slowClient(t, proxy)
	proxy.Delay(600 * time.Millisecond) // a round trip takes longer than the time before the Timeout
	var tries attempts
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t, guard.Wait(time.Minute)), tries.key,
		asynqmw.WithClient(client), asynqmw.DeferFor(time.Hour))(&runs{}))
	f.enqueue(t, "x", asynq.MaxRetry(0), asynq.Timeout(6*time.Second))
	f.finished(t, "x")
	f.wantNoTrace(t)
	if n := len(f.clones(t, "default", "x")); n != 1 || tries.Load() != 1 {
		t.Errorf("%d clones after %d attempts, want one of each", n, tries.Load())
	}
}

// ends calls then at the end of the n-th acquisition, which must fail.
type ends struct {
	guard.Observer
	left *atomic.Int64
	then func()
}

func atEnd(n int64, then func()) ends {
	e := ends{guard.LogObserver(slog.New(slog.DiscardHandler)), new(atomic.Int64), then}
	e.left.Store(n)
	return e
}

func (e ends) AcquireEnd(_ context.Context, a guard.AcquireEnd) {
	if e.left.Add(-1) == 0 && a.Err != nil {
		e.then()
	}
}

// A request for a clone is still in flight when the task gives up.
func TestTaskThatGivesUpLeavesARequestInFlightTimeToArrive(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	client := f.slowClient(t, proxy)
	for _, id := range []string{"x", "y", "z"} { // a slow machine may be too late for one
		trap := proxy.HoldNextRequest(id + "~busy1")
		lastTry := atEnd(3, func() { time.AfterFunc(100*time.Millisecond, trap.Release) }) // after the first try and the wait on its worker
		var tries attempts
		server := f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t, guard.Observe(lastTry)), tries.key,
			asynqmw.WithClient(client), asynqmw.DeferFor(time.Hour))(&runs{}))
		f.enqueue(t, id, asynq.MaxRetry(0), asynq.Timeout(4*time.Second))
		trap.Wait(t)
		gone := f.finished(t, id)
		trap.Release()
		server.Shutdown()
		if gone && len(f.clones(t, "default", id)) == 1 {
			return
		}
	}
	t.Error("every task was archived though its clone was on the way")
}

// runStart calls then between each acquisition and the handler.
type runStart struct {
	guard.Observer
	then func(context.Context)
}

func (o runStart) RunStart(ctx context.Context, _ guard.RunStart) context.Context {
	o.then(ctx)
	return ctx
}

func atRunStart(then func(context.Context)) guard.Option {
	return guard.Observe(runStart{guard.LogObserver(slog.New(slog.DiscardHandler)), then})
}

func TestHandlerDoesNotStartWhileACloneIsBeingEnqueued(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	client := f.slowClient(t, proxy)
	trap := proxy.HoldNextRequest("x~busy1")
	var tries attempts
	var r runs
	g := f.guard(t, atRunStart(func(context.Context) { trap.Release() }))
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(g, tries.key, asynqmw.WithClient(client), asynqmw.DeferFor(time.Hour))(&r))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	trap.Wait(t)
	eventually(t, "x is queued", func() bool { return len(f.admin.Keys(t.Context(), "guard:w:*").Val()) == 1 })
	release()
	f.finished(t, "x")
	f.wantNoTrace(t)
	if n := len(f.clones(t, "default", "x")); n != 1 || r.done.Load() != 0 {
		t.Errorf("%d clones, %d runs; want the clone alone", n, r.done.Load())
	}
}

func TestHandlerDoesNotStartOnceAsynqHasTakenTheTaskBack(t *testing.T) {
	f := newFleet(t)
	acquired := make(chan struct{})
	g := f.guard(t, atRunStart(func(ctx context.Context) {
		close(acquired)
		<-ctx.Done()
	}))
	var tries attempts
	var late, r runs
	server := f.serve(t, asynqmw.Configure(quick()), asynqmw.New(g, tries.key)(&late))
	f.enqueue(t, "x", asynq.MaxRetry(1))
	select {
	case <-acquired:
	case <-time.After(waitLimit):
		t.Fatal("the key was not acquired")
	}
	server.Shutdown() // the task goes back into its queue, and then its context ends
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, soon)(&r))
	r.await(t, 1) // it had to wait for the first attempt's end
	if late.done.Load() != 0 {
		t.Error("the handler ran twice")
	}
	f.wantNoTrace(t)
}

// The same while the handler waits for a request for a clone that hangs.
func TestHandlerThatWaitsForACloneDoesNotStartAfterARequeue(t *testing.T) {
	f := newFleet(t)
	release := hold(t, f.guard(t), "k")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	client := f.slowClient(t, proxy)
	trap := proxy.HoldNextRequest("x~busy1")
	var tries attempts
	handler := asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		if ctx.Err() != nil {
			t.Error("the handler started with a context that had ended")
		}
		return nil
	})
	acquired := make(chan struct{})
	g := f.guard(t, atRunStart(func(context.Context) { close(acquired) }))
	server := f.serve(t, asynqmw.Configure(quick()), asynqmw.New(g, tries.key, asynqmw.WithClient(client))(handler))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	trap.Wait(t)
	release()
	select {
	case <-acquired:
	case <-time.After(waitLimit):
		t.Fatal("the key was not acquired")
	}
	server.Shutdown() // within the second that the handler waits for the request
	eventually(t, "the first attempt is over", func() bool { return f.admin.Exists(t.Context(), "guard:k").Val() == 0 })
}

// A task with retries left is not archived at the end of one attempt, which looks
// like a Deadline.
func TestTimeoutWithADeadlineIsNotTheEndOfATaskWithRetries(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		waits guard.Option
		opts  func(*testing.T, *fleet) []asynqmw.Option
	}{
		"tries once": {guard.Wait(0), func(*testing.T, *fleet) []asynqmw.Option { return nil }},
		"waits forever": {guard.Forever(), func(_ *testing.T, f *fleet) []asynqmw.Option {
			return []asynqmw.Option{asynqmw.WithClient(f.client)}
		}},
		"inspector hangs": {guard.Wait(0), func(t *testing.T, f *fleet) []asynqmw.Option {
			proxy := redistest.NewProxy(t, f.redis.Addr())
			proxy.Blackhole(redistest.Both)
			inspector := asynq.NewInspector(asynq.RedisClientOpt{Addr: proxy.Addr(), ReadTimeout: waitLimit})
			t.Cleanup(func() {
				proxy.Heal()
				_ = inspector.Close() // it only reads
			})
			return []asynqmw.Option{asynqmw.WithInspector(inspector)}
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			release := hold(t, f.guard(t), "k")
			var tries attempts
			var r runs
			cfg := quick()
			cfg.DelayedTaskCheckInterval = 2 * time.Second // leaves no time to rest
			f.serve(t, asynqmw.Configure(cfg), asynqmw.New(f.guard(t, c.waits), tries.key, append(c.opts(t, f), soon)...)(&r))
			f.enqueue(t, "x", asynq.MaxRetry(1), asynq.Timeout(5*time.Second), asynq.Deadline(time.Now().Add(24*time.Hour)))
			eventually(t, "x comes back or is archived", func() bool { return tries.Load() == 2 || f.queue(t).Archived == 1 })
			f.wantNoTrace(t)
			release()
			r.await(t, 1)
			f.wantNoTrace(t)
		})
	}
}

// A last attempt cannot be deferred, and only an Inspector can distinguish its
// Timeout from its Deadline.
func TestTimeoutWithADeadlineEndsALastAttemptWithoutAnInspector(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	var tries attempts
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, soon, asynqmw.WithClient(f.client))(&runs{}))
	f.enqueue(t, "x", asynq.MaxRetry(0), asynq.Timeout(7*time.Second), asynq.Deadline(time.Now().Add(24*time.Hour)))
	eventually(t, "its clone is archived", func() bool { return f.queue(t).Archived == 1 })
	archived, err := f.inspector.ListArchivedTasks("default")
	if err != nil || len(archived) != 1 || !strings.HasPrefix(archived[0].ID, "x~busy") || !strings.Contains(archived[0].LastErr, "held by") {
		t.Errorf("archived %+v, %v; want a clone, with the holder in its last error", archived, err)
	}
}

func TestArchivedTaskSaysWhyItHasNoClone(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	proxy.Cut()
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: proxy.Addr()})
	defer client.Close()
	var tries attempts
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key, asynqmw.WithClient(client))(&runs{}))
	f.enqueue(t, "x", asynq.MaxRetry(0), asynq.Timeout(4*time.Second))
	f.finished(t, "x")
	task := f.task("x")
	if task == nil || !strings.Contains(task.LastErr, "held by") || !strings.Contains(task.LastErr, "a clone could not be enqueued") {
		t.Errorf("the task is %+v, want the holder and the client's failure in its last error", task)
	}
}

func TestTaskThatWaitsForTheStoreDoesNotSpin(t *testing.T) {
	f := newFleet(t)
	store := guardtest.NewStore()
	store.Fail(errors.New("down"))
	var calls atomic.Int64
	g, err := guard.New(store, guard.Observe(counted{guard.LogObserver(slog.New(slog.DiscardHandler)), &calls}))
	if err != nil {
		t.Fatal(err)
	}
	var tries attempts
	var r runs
	// Skip: the task is not in the queue of its key.
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(g, tries.key, asynqmw.OnBusy(asynqmw.Skip))(&r))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	eventually(t, "the task asks for its key", func() bool { return calls.Load() >= 2 })
	before := calls.Load()
	time.Sleep(time.Second)
	if n := calls.Load() - before; n > 25 { // one in 50 ms at most
		t.Errorf("it asked %d times in a second", n)
	}
	store.Fail(nil)
	r.await(t, 1)
	if err := g.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// counted counts acquisitions.
type counted struct {
	guard.Observer
	calls *atomic.Int64
}

func (c counted) AcquireStart(ctx context.Context, _ guard.AcquireStart) context.Context {
	c.calls.Add(1)
	return ctx
}

func TestCloneHasOnlyTheRetriesThatWereLeft(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "second")
	key := func(ctx context.Context, _ *asynq.Task) (string, error) {
		if retried, _ := asynq.GetRetryCount(ctx); retried == 0 {
			return "first", nil
		}
		return "second", nil
	}
	r := &runs{work: func(context.Context, *asynq.Task) error { return errors.New("fails") }}
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), key, asynqmw.WithClient(f.client), asynqmw.DeferFor(time.Hour))(r))
	f.enqueue(t, "x", asynq.MaxRetry(1))
	f.finished(t, "x")
	if clones := f.clones(t, "default", "x"); len(clones) != 1 || clones[0].MaxRetry != 0 {
		t.Errorf("the clones are %+v, want one that has no retry", clones)
	}
}
