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
)

// Middleware runs asynq tasks once at a time per key. See [New].
type Middleware struct {
	options
	guard *guard.Guard
	key   KeyFunc

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

// New returns a middleware that runs each task under the key that key makes for it:
//
//	mw, err := asynqmw.New(g, key, asynqmw.WithRedis(conn))
//	mux.Use(mw.Handler)
//	server := asynq.NewServer(conn, mw.Config(cfg))
//
// Where g sets no Wait, a busy key is waited for half a second at most; where it sets
// no Name, observers see the task's type: set a Name if types contain ids. The error
// says which argument is wrong.
func New(g *guard.Guard, key KeyFunc, opts ...Option) (*Middleware, error) {
	o, err := newOptions(opts)
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
		return m.deferred(ctx, a, inLine(a.key, a.rank))
	}
	a.contended = v != first
	for {
		g := m.guardOf(a)
		if v == back || !m.startWait(a) {
			g = g.With(guard.Wait(0))
		}
		ran, err := m.do(ctx, a, g, a.giveUp)
		if ran {
			return finished(err, a.err)
		}
		if final, outcome := m.judge(err); final {
			return outcome
		}
		if !a.line.leave(ctx, a) {
			return m.deferred(ctx, a, err)
		}
		v, a.contended = called, true
	}
}

// judge reports whether a task that did not get its key because of err is not to come
// back, and then its outcome.
func (m *Middleware) judge(err error) (final bool, outcome error) {
	switch {
	case m.policy == Defer || !errors.Is(err, guard.ErrBusy):
		return false, nil
	case m.policy == Discard:
		return true, &notRunError{how: "discarded", cause: err, revoke: true}
	}
	return true, nil
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

// briefWait is how long a task waits on its worker for a run that began before.
const briefWait = 500 * time.Millisecond

// guardOf returns the guard for a task. It waits as the user's does, else for
// briefWait; without a line it tries once.
func (m *Middleware) guardOf(a *attempt) *guard.Guard {
	wait := briefWait
	if m.line == nil {
		wait = 0
	}
	return m.guard.With(guard.Fallback(guard.Wait(wait), guard.Name(a.task.Type())))
}

// isNotFound reports whether next is the handler of a mux for types that it has no
// handler for. Another middleware in between hides it.
func isNotFound(next asynq.Handler) bool {
	f, ok := next.(asynq.HandlerFunc)
	return ok && reflect.ValueOf(f).Pointer() == reflect.ValueOf(asynq.NotFound).Pointer()
}
