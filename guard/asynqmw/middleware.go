package asynqmw

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/option"
)

// Middleware runs asynq tasks once at a time per key. See [New].
type Middleware struct {
	options
	guard *guard.Guard
	key   KeyFunc
	wait  time.Duration // for a key, on the worker, if guard sets none

	// Of WithRedis; nil without.
	client    *asynq.Client
	inspector *asynq.Inspector
	line      *line

	several   atomic.Bool  // the guard lets several runs of a key be: there is no order
	waiting   sync.Map     // keys that a worker waits for
	waiters   atomic.Int64 // in waiting
	keyErrors atomic.Int64
	logged    atomic.Int64 // when a key error was logged, ns since 1970
}

// New returns a middleware that runs each task under the key that key makes for it.
// Where g sets no Wait, WithRedis has a busy key waited for half a second; where it sets
// no Name, observers see the task's type: set a Name if types contain ids. The error
// says which argument is wrong.
func New(g *guard.Guard, key KeyFunc, opts ...Option) (*Middleware, error) {
	o, err := option.Apply(defaults, "an Option", opts)
	switch {
	case g == nil:
		err = errors.New("nil Guard")
	case key == nil:
		err = errors.New("nil KeyFunc")
	}
	m := &Middleware{options: o, guard: g, key: key}
	if err != nil {
		return nil, fmt.Errorf("asynqmw: %w", errors.Join(err, m.Close()))
	}
	if o.redis != nil {
		m.client, m.inspector = asynq.NewClientFromRedisClient(o.redis), asynq.NewInspectorFromRedisClient(o.redis)
		if o.policy == Defer {
			m.line = &line{redis: o.redis}
			m.line.patience.Store(maxPatience)
			m.wait = briefWait
		}
	}
	return m, nil
}

// Close closes the connections of WithRedis. Shut the server down first.
func (m *Middleware) Close() error {
	if m.redis == nil {
		return nil
	}
	return m.redis.Close()
}

// Handler is a middleware for asynq: mux.Use(mw.Handler). next runs on asynq's
// goroutine, with a context that ends with asynq's and with the lease.
func (m *Middleware) Handler(next asynq.Handler) asynq.Handler {
	if isNotFound(next) { // there is nothing to guard, and perhaps no key to be made
		return next
	}
	return asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		return readable(m.process(ctx, newAttempt(ctx, task, next)))
	})
}

// process is one attempt of a task.
func (m *Middleware) process(ctx context.Context, a *attempt) (err error) {
	if a.mark == nil {
		return m.keyError(ctx, a, ErrNotConfigured)
	}
	if a.key, err = m.keyOf(ctx, a.task); err != nil {
		return m.keyError(ctx, a, err)
	}
	if !m.several.Load() {
		a.line = m.line
	}
	v := a.line.arrive(ctx, a)
	if v == putOff {
		why := fmt.Errorf("tasks in line before it, besides those that run: %d", a.rank)
		return m.deferred(ctx, a, &guard.Error{Op: "do", Key: a.key, Kind: guard.ErrBusy, Err: why})
	}
	a.contended = v != first
	for {
		g := m.guardOf(a)
		if v == back || !m.startWait(a) {
			g = g.With(guard.Wait(0))
		}
		over, err := m.do(ctx, a, g, a.giveUp)
		if over {
			return err
		}
		if !a.line.leave(ctx, a) {
			return m.deferred(ctx, a, err)
		}
		v, a.contended = called, true
	}
}

// startWait reports whether the attempt may wait for its key on its worker: one may at
// a time, for each key. It counts until a.endWait.
func (m *Middleware) startWait(a *attempt) bool {
	if _, others := m.waiting.LoadOrStore(a.key, true); others {
		return false
	}
	m.waiters.Add(1)
	a.endWait = sync.OnceFunc(func() {
		m.waiters.Add(-1)
		m.waiting.Delete(a.key)
	})
	return true
}

// briefWait is how long a task of a line waits on its worker for a run that began before.
const briefWait = 500 * time.Millisecond

func (m *Middleware) guardOf(a *attempt) *guard.Guard {
	return m.guard.With(guard.Fallback(guard.Wait(m.wait), guard.Name(a.task.Type())))
}

// isNotFound reports whether next is the handler of a mux for types that it has no
// handler for. Another middleware in between hides it.
func isNotFound(next asynq.Handler) bool {
	f, ok := next.(asynq.HandlerFunc)
	return ok && reflect.ValueOf(f).Pointer() == reflect.ValueOf(asynq.NotFound).Pointer()
}
