package asynqmw_test

import (
	"context"
	"errors"
	"flag"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silence{}) // it logs every dial that a test makes fail
	// The tests mostly wait: run more of them at once than there are processors. The
	// command line, parsed later, can override this.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// waitLimit bounds each wait; a busy machine stays below.
const waitLimit = 30 * time.Second

// A fleet is asynq and a guard's store on one real Redis.
type fleet struct {
	redis     *redistest.Server
	admin     *redis.Client
	client    *asynq.Client
	inspector *asynq.Inspector
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	t.Parallel()
	s := redistest.Start(t)
	f := &fleet{redis: s, admin: s.Client(t)}
	f.client = asynq.NewClient(f.conn())
	f.inspector = asynq.NewInspector(f.conn())
	t.Cleanup(func() {
		_ = f.client.Close()    // nothing is written any more
		_ = f.inspector.Close() // nor read
	})
	return f
}

func (f *fleet) conn() asynq.RedisConnOpt { return asynq.RedisClientOpt{Addr: f.redis.Addr()} }

// guard returns a guard of its own, as in another process. The test's end shuts it
// down.
func (f *fleet) guard(t *testing.T, opts ...guard.Option) *guard.Guard {
	t.Helper()
	return guardAt(t, f.redis.Addr(), opts...)
}

func guardAt(t *testing.T, addr string, opts ...guard.Option) *guard.Guard {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	g, err := guard.New(redisstore.New(client), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
		defer cancel()
		if err := g.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		_ = client.Close()
	})
	return g
}

// quick is the configuration of a server that looks for due tasks often.
func quick() asynq.Config {
	return asynq.Config{
		Concurrency:              8,
		TaskCheckInterval:        10 * time.Millisecond,
		DelayedTaskCheckInterval: 50 * time.Millisecond,
		ShutdownTimeout:          100 * time.Millisecond,
		RetryDelayFunc:           func(int, error, *asynq.Task) time.Duration { return 0 },
		LogLevel:                 asynq.FatalLevel,
	}
}

// withRedis is WithRedis on the fleet's.
func (f *fleet) withRedis() asynqmw.Option { return asynqmw.WithRedis(f.conn()) }

// middleware returns a middleware; the test's end closes it.
func middleware(t *testing.T, g *guard.Guard, key asynqmw.KeyFunc, opts ...asynqmw.Option) *asynqmw.Middleware {
	t.Helper()
	mw, err := asynqmw.New(g, key, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mw.Close() }) // nothing is written any more
	return mw
}

// run starts a server whose handler is behind a middleware.
func (f *fleet) run(t *testing.T, cfg asynq.Config, g *guard.Guard, key asynqmw.KeyFunc, handler asynq.Handler, opts ...asynqmw.Option) *asynq.Server {
	t.Helper()
	mw := middleware(t, g, key, opts...)
	return f.serve(t, mw.Config(cfg), mw.Handler(handler))
}

// fixed is a KeyFunc that gives all tasks one key.
func fixed(key string) asynqmw.KeyFunc {
	return func(context.Context, *asynq.Task) (string, error) { return key, nil }
}

// soon is a rest that asynq cannot distinguish from none.
var soon = asynqmw.Rest(10 * time.Millisecond)

// serve starts a server. The test's end shuts it down, if that has not happened
// before.
func (f *fleet) serve(t *testing.T, cfg asynq.Config, handler asynq.Handler) *asynq.Server {
	t.Helper()
	server := asynq.NewServer(f.conn(), cfg)
	if err := server.Start(handler); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	return server
}

// enqueue enqueues a task of type "t" and id id.
func (f *fleet) enqueue(t *testing.T, id string, opts ...asynq.Option) {
	t.Helper()
	f.enqueueTask(t, asynq.NewTask("t", nil), append(opts, asynq.TaskID(id))...)
}

func (f *fleet) enqueueTask(t *testing.T, task *asynq.Task, opts ...asynq.Option) {
	t.Helper()
	if _, err := f.client.Enqueue(task, opts...); err != nil {
		t.Fatal(err)
	}
}

// task returns what asynq knows about a task, nil if it knows none of that id.
func (f *fleet) task(id string) *asynq.TaskInfo {
	info, err := f.inspector.GetTaskInfo("default", id)
	if err != nil {
		return nil
	}
	return info
}

// clones returns the clones of task id that are not due yet.
func (f *fleet) clones(t *testing.T, queue, id string) (clones []*asynq.TaskInfo) {
	t.Helper()
	scheduled, err := f.inspector.ListScheduledTasks(queue)
	if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
		t.Fatal(err)
	}
	for _, task := range scheduled {
		if strings.HasPrefix(task.ID, id+"~busy") {
			clones = append(clones, task)
		}
	}
	return clones
}

func (f *fleet) queue(t *testing.T) *asynq.QueueInfo {
	t.Helper()
	info, err := f.inspector.GetQueueInfo("default")
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// wantNoTrace fails the test if a task failed or was archived.
func (f *fleet) wantNoTrace(t *testing.T) {
	t.Helper()
	if q := f.queue(t); q.Failed != 0 || q.Archived != 0 {
		t.Errorf("%d failures and %d archived tasks, want none", q.Failed, q.Archived)
	}
}

// await receives from c. What a failure keeps from coming fails the test, and does not hold it up.
func await[T any](t *testing.T, what string, c <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(waitLimit):
		t.Fatalf("in vain waited for %s", what)
	}
	return got
}

// hold holds key until release, which the test's end calls too.
func hold(t *testing.T, g *guard.Guard, key string) (release func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	held, done := make(chan struct{}), make(chan error, 1)
	go func() { // ended by cancel
		done <- g.Do(context.Background(), key, func(context.Context) error {
			close(held)
			<-ctx.Done()
			return nil
		})
	}()
	select {
	case <-held:
	case err := <-done:
		t.Fatalf("holding %q: %v", key, err)
	case <-time.After(waitLimit):
		t.Fatalf("holding %q took too long", key)
	}
	t.Cleanup(cancel)
	return cancel
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	within(t, waitLimit, what, ok)
}

func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// attempts counts how often tasks come to the middleware.
type attempts struct{ atomic.Int64 }

// key is a KeyFunc that gives all tasks the key "k".
func (a *attempts) key(context.Context, *asynq.Task) (string, error) {
	a.Add(1)
	return "k", nil
}

// await waits until n attempts have come. Earlier ones of the same task are over.
func (a *attempts) await(t *testing.T, n int64) {
	t.Helper()
	eventually(t, "attempts", func() bool { return a.Load() >= n })
}

// runs is a handler that counts its runs.
type runs struct {
	now, most, done atomic.Int64
	work            func(context.Context, *asynq.Task) error // nil: nothing
}

func (r *runs) ProcessTask(ctx context.Context, task *asynq.Task) error {
	now := r.now.Add(1)
	defer r.now.Add(-1)
	for most := r.most.Load(); now > most && !r.most.CompareAndSwap(most, now); most = r.most.Load() {
	}
	if r.work != nil {
		if err := r.work(ctx, task); err != nil {
			return err
		}
	}
	r.done.Add(1)
	return nil
}

func (r *runs) await(t *testing.T, n int64) {
	t.Helper()
	eventually(t, "runs", func() bool { return r.done.Load() >= n })
}

// errorLog is an ErrorHandler that keeps the errors it gets.
type errorLog struct{ errs chan error }

func newErrorLog() errorLog                                                { return errorLog{make(chan error, 1000)} }
func (e errorLog) HandleError(_ context.Context, _ *asynq.Task, err error) { e.errs <- err }

func (e errorLog) next(t *testing.T) error {
	t.Helper()
	select {
	case err := <-e.errs:
		return err
	case <-time.After(waitLimit):
		t.Fatal("the ErrorHandler got nothing")
		return nil
	}
}

func (e errorLog) wantNothing(t *testing.T) {
	t.Helper()
	select {
	case err := <-e.errs:
		t.Errorf("the ErrorHandler got %v", err)
	default:
	}
}
