package asynqmw_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/guardtest"
)

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

func TestHandlerDoesNotStartOnceAsynqHasTakenTheTaskBack(t *testing.T) {
	f := newFleet(t)
	acquired := make(chan struct{})
	g := f.guard(t, atRunStart(func(ctx context.Context) {
		close(acquired)
		<-ctx.Done()
	}))
	var tries attempts
	var late, r runs
	server := f.run(t, quick(), g, tries.key, &late)
	f.enqueue(t, "x", asynq.MaxRetry(1))
	select {
	case <-acquired:
	case <-time.After(waitLimit):
		t.Fatal("the key was not acquired")
	}
	server.Shutdown() // the task goes back into its queue, and then its context ends
	f.run(t, quick(), f.guard(t), tries.key, &r, soon)
	r.await(t, 1) // it had to wait for the first attempt's end
	if late.done.Load() != 0 {
		t.Error("the handler ran twice")
	}
	f.wantNoTrace(t)
}

func inBubble(t *testing.T, f func(t *testing.T, store *guardtest.Store, g *guard.Guard)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		g, err := guard.New(store, guard.Wait(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		f(t, store, g)
		if err := g.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func attempt(g *guard.Guard, timeout time.Duration, handler asynq.Handler) (took time.Duration, err error) {
	mw, err := asynqmw.New(g, fixed("k"))
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(mw.Config(asynq.Config{}).BaseContext(), timeout)
	defer cancel()
	began := time.Now()
	err = mw.Handler(handler).ProcessTask(ctx, asynq.NewTask("t", nil))
	return time.Since(began), err
}

func TestWaitEndsASecondBeforeTheTimeoutOrWithAQuarterOfItLeft(t *testing.T) {
	t.Parallel()
	for timeout, want := range map[time.Duration]time.Duration{
		time.Second:      750 * time.Millisecond,
		2 * time.Second:  1500 * time.Millisecond,
		4 * time.Second:  3 * time.Second,
		10 * time.Second: 9 * time.Second,
		30 * time.Minute: 30*time.Minute - time.Second,
	} {
		t.Run(fmt.Sprint(timeout), func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				store.Hold("k", "rival")
				var r runs
				took, err := attempt(g, timeout, &r)
				if took != want || !errors.Is(err, guard.ErrBusy) || !strings.Contains(err.Error(), "deferred") {
					t.Errorf("it waited %v and ended with %v, want %v and a deferral", took, err, want)
				}
				if r.done.Load() != 0 {
					t.Error("the handler ran alongside the holder")
				}
			})
		})
	}
}
