package asynqmw

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
)

// RunScheduler runs a Scheduler while this process is the leader under key, so that
// one in the fleet is active: two would enqueue every task twice. When the leader
// dies, another takes over within the TTL. It blocks until ctx ends and returns its
// cause, or what guard.Guard.Lead returns. End ctx before you shut the guard down.
//
// newScheduler makes the Scheduler and registers its entries, on the calling
// goroutine, at the start of every term: a Scheduler that was shut down cannot be
// started again. Call neither Run, Start nor Shutdown on it. A nil or used Scheduler,
// and a g with a Limit or Shared, are errors. A nil g or newScheduler panics.
//
// Ticks between two leaders are missed, and @every counts anew. A process that was
// stopped and resumed can enqueue one tick before it notices that it lost the lease,
// and ticks in flight to a slow Redis can arrive after another has taken over:
// asynq.Unique or a TaskID made of the tick drops those, if the server of the task
// has no [WithClient] or the task has MaxRetry of 1 or more. A leader that is cut off
// from asynq's Redis but not from the guard's stays the leader, and enqueues nothing.
func RunScheduler(ctx context.Context, g *guard.Guard, key string, newScheduler func() *asynq.Scheduler) error {
	mustLead("RunScheduler", g, newScheduler != nil)
	l := &leader{what: "Scheduler", make: func() (runner, error) { return newScheduler(), nil }}
	return l.run(ctx, g, key)
}

// RunPeriodicTaskManager is [RunScheduler] for a PeriodicTaskManager.
//
// asynq stops a PeriodicTaskManager only after a GetConfigs that is in progress has
// returned. Until then it goes on to enqueue, even if the lease is lost and another
// is active; and a leader whose first GetConfigs hangs keeps the key, so that none is
// active. So give GetConfigs a timeout, and use asynq.Unique or a TaskID per tick.
//
// An error of newManager is returned, and so is a manager that was started before. If
// the manager does not start, because its PeriodicTaskConfigProvider fails or returns
// an invalid configuration, the process logs it (log/slog), steps down for another to
// try, and campaigns again with the same manager after one second, growing to about
// half a minute. If it never starts, its own connections to Redis stay open: asynq
// cannot close them. Those of a RedisUniversalClient can be closed by its owner.
func RunPeriodicTaskManager(ctx context.Context, g *guard.Guard, key string, newManager func() (*asynq.PeriodicTaskManager, error)) error {
	mustLead("RunPeriodicTaskManager", g, newManager != nil)
	l := &leader{what: "PeriodicTaskManager", make: func() (runner, error) { return newManager() }}
	for {
		err := l.run(ctx, g, key)
		var failed *startError
		if !errors.As(err, &failed) {
			return err
		}
		l.failures++
		pause := backoff(l.failures)
		slog.ErrorContext(ctx, "asynqmw: stepping down: the PeriodicTaskManager did not start",
			"key", key, "error", failed.err, "again", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// mustLead panics if an argument of caller is missing.
func mustLead(caller string, g *guard.Guard, function bool) {
	switch {
	case g == nil:
		panic("asynqmw: " + caller + ": nil Guard")
	case !function:
		panic("asynqmw: " + caller + ": nil function")
	}
}

// runner is an asynq Scheduler or PeriodicTaskManager. Its goroutines live from
// Start to the end of Shutdown.
type runner interface {
	Start() error
	Shutdown()
}

// leader is used by the goroutine that campaigns alone.
type leader struct {
	what     string
	make     func() (runner, error)
	unused   runner // one that did not start; asynq cannot close it
	failures int    // to start, in a row
}

// startError is why a runner did not start.
type startError struct{ err error }

func (e *startError) Error() string { return "asynqmw: start: " + e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

func (l *leader) run(ctx context.Context, g *guard.Guard, key string) error {
	return g.With(guard.Fallback(guard.Name("asynq "+l.what))).Lead(ctx, key, l.term)
}

// term runs one runner from its making to the end of ctx. Lead holds the lease until
// term returns, after Shutdown, so the next leader starts when nothing is enqueued
// any more. If the lease was lost, the next may start before Shutdown has returned:
// it waits for a GetConfigs and for ticks that are in progress.
func (l *leader) term(ctx context.Context) error {
	if _, exclusive := guard.Fence(ctx); !exclusive && ctx.Err() == nil {
		return fmt.Errorf("asynqmw: running a %s: the guard has a Limit or Shared: others could be active at the same time", l.what)
	}
	r, err := l.next()
	if err != nil {
		return err
	}
	if err := r.Start(); err != nil {
		if wasUsed(err) {
			return fmt.Errorf("asynqmw: the function that makes a %s returned one that was used before; it cannot be started twice: %w", l.what, err)
		}
		l.unused = r
		return &startError{err}
	}
	l.unused, l.failures = nil, 0
	<-ctx.Done()
	r.Shutdown()
	return context.Cause(ctx)
}

// wasUsed reports whether a runner was started before, in an earlier term or by other
// code. asynq shows that by the text of its error alone. If that text changes, a
// PeriodicTaskManager is tried again and again.
func wasUsed(err error) bool {
	switch strings.ReplaceAll(err.Error(), "asynq: ", "") { // a PeriodicTaskManager has that prefix twice
	case "the scheduler is already running", "the scheduler has already been stopped":
		return true
	}
	return false
}

// next returns a runner to start.
func (l *leader) next() (runner, error) {
	if l.unused != nil {
		return l.unused, nil
	}
	r, err := l.make()
	switch {
	case err != nil:
		return nil, fmt.Errorf("asynqmw: making a %s: %w", l.what, err)
	case reflect.ValueOf(r).IsNil():
		return nil, fmt.Errorf("asynqmw: the function that makes a %s returned nil", l.what)
	}
	return r, nil
}

// backoff doubles from one second to thirty, with up to a fifth on top.
func backoff(failures int) time.Duration {
	d := min(time.Second<<min(failures-1, 5), 30*time.Second)
	return d + rand.N(d/5)
}
