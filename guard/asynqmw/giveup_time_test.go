package asynqmw_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// inBubble calls f in a synctest bubble, with a store and a guard over it that waits.
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

// attempt is one attempt, with a Timeout, of a task that may wait for key "k".
func attempt(g *guard.Guard, timeout time.Duration, handler asynq.Handler) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(asynqmw.Configure(asynq.Config{}).BaseContext(), timeout)
	defer cancel()
	began := time.Now()
	key := func(context.Context, *asynq.Task) (string, error) { return "k", nil }
	err = asynqmw.New(g, key)(handler).ProcessTask(ctx, asynq.NewTask("t", nil))
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
				if took != want || !errors.Is(err, guard.ErrBusy) || asynqmw.Configure(asynq.Config{}).IsFailure(err) {
					t.Errorf("it waited %v and ended with %v, want %v and a deferral", took, err, want)
				}
				if r.done.Load() != 0 {
					t.Error("the handler ran alongside the holder")
				}
			})
		})
	}
}

func TestTaskWithAShortTimeoutHasTimeToGetItsKey(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Delay(100 * time.Millisecond) // a round trip
		var r runs
		if _, err := attempt(g, time.Second, &r); err != nil || r.done.Load() != 1 {
			t.Errorf("%v, %d runs; want one, the key is free", err, r.done.Load())
		}
	})
}
