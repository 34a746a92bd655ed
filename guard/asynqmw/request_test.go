package asynqmw_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/internal/redistest"
)

// requests records the times at which a client asked for a clone.
type requests struct {
	mu    sync.Mutex // guards times
	times []time.Time
}

func (r *requests) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *requests) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.Contains(fmt.Sprint(cmd.Args()...), "~busy") {
			r.mu.Lock()
			r.times = append(r.times, time.Now())
			r.mu.Unlock()
		}
		return next(ctx, cmd)
	}
}

func (r *requests) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (r *requests) all() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times[:len(r.times):len(r.times)]
}

// A Redis that refuses every clone is not asked again at once.
func TestRequestsForACloneAreASecondApart(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	proxy.AnswerErr("ERR not today", "~busy")
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	defer client.Close()
	var made requests
	client.AddHook(&made)
	var tries attempts
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key,
		asynqmw.WithClient(asynq.NewClientFromRedisClient(client)), asynqmw.DeferFor(time.Hour))(&runs{}))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	eventually(t, "a third request", func() bool { return len(made.all()) >= 3 })
	times := made.all()
	for i, at := range times[1:] {
		if d := at.Sub(times[i]); d < time.Second {
			t.Errorf("%v between the requests %d and %d, want a second", d, i+1, i+2)
		}
	}
	proxy.Heal()
	eventually(t, "x is gone", func() bool { return f.task("x") == nil })
	if n := len(f.clones(t, "default", "x")); n != 1 || tries.Load() != 1 {
		t.Errorf("%d clones after %d attempts, want one of each", n, tries.Load())
	}
	f.wantNoTrace(t)
}

// A client that ends requests with their context is not delayed by the first request
// for as long as its connection hangs.
func TestRequestForACloneThatHangsIsGivenUpForAnother(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: 10 * waitLimit, ContextTimeoutEnabled: true})
	defer client.Close()
	trap := proxy.HoldNextRequest("x~busy1")
	defer trap.Release()
	var tries attempts
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), tries.key,
		asynqmw.WithClient(asynq.NewClientFromRedisClient(client)), asynqmw.DeferFor(time.Hour))(&runs{}))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	trap.Wait(t)
	eventually(t, "x is gone", func() bool { return f.task("x") == nil })
	if n := len(f.clones(t, "default", "x")); n != 1 || tries.Load() != 1 {
		t.Errorf("%d clones after %d attempts, want one of each", n, tries.Load())
	}
	f.wantNoTrace(t)
}

// A clone that finds the key busy rests like any other task.
func TestClonesOfABusyTaskRestBetweenTheirAttempts(t *testing.T) {
	f := newFleet(t)
	hold(t, f.guard(t), "k")
	came := make(chan time.Time, 100)
	key := func(context.Context, *asynq.Task) (string, error) {
		came <- time.Now()
		return "k", nil
	}
	f.serve(t, asynqmw.Configure(quick()), asynqmw.New(f.guard(t), key,
		asynqmw.WithClient(f.client), asynqmw.DeferFor(2*time.Second))(&runs{}))
	f.enqueue(t, "x", asynq.MaxRetry(0))
	var last time.Time
	for i := range 3 {
		select {
		case now := <-came:
			if d := now.Sub(last); d < time.Second { // asynq drops the fraction of the second at which it is due
				t.Errorf("clone %d came %v after the attempt before", i, d)
			}
			last = now
		case <-time.After(waitLimit):
			t.Fatal("no clone came")
		}
	}
	f.wantNoTrace(t)
}
