package httpmw

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard"
)

const (
	// defaultWait is how long a request stands in line where the guard sets no Wait:
	// long enough to outlast a short run, short enough for somebody who looks at a
	// spinner, and for a client that went away unseen.
	defaultWait = 2 * time.Second

	// unrouted is what observers are told where the router left no pattern.
	unrouted = "http"
)

// Option configures the middleware.
type Option interface{ apply(*middleware) }

type option func(*middleware)

func (f option) apply(m *middleware) { f(m) }

// WithErrorHandler has f answer in place of [Problem] when the handler did not
// run, or lost its lease before it had sent anything. f is called at most once for a
// request, on its goroutine, with the request as it came to the middleware and a
// ResponseWriter that has the interfaces of the one that came; what the handler had put
// into the header is gone. If f writes nothing Problem answers after all: net/http
// would say 200.
//
// Tell errors apart with errors.Is: guard.ErrBusy, ErrUnavailable, ErrClosed,
// ErrLost, ErrMaxHold, ErrInvalidKey, and the error of the request's context if that
// ended first. f can leave to Problem what it does not care about. The text of err
// contains the key and the holder: do not send it to clients.
func WithErrorHandler(f func(w http.ResponseWriter, r *http.Request, err error)) Option {
	if f == nil {
		panic("httpmw: nil error handler")
	}
	return option(func(m *middleware) { m.refuse = orProblem(f) })
}

// New returns a middleware that runs its handler under g while the key of the
// request is held, and answers by itself where that cannot be: see the package
// documentation. Everything about the lease is set on g, with guard.With if need
// be; where g sets no Wait it is 2 s, and where it sets no Name it is the
// request's Pattern, or "http" if there is none.
//
// Wrap each route by itself, inside the router, so that path values and pattern
// are known. A nil g, key, option or handler panics.
func New(g *guard.Guard, key KeyFunc, opts ...Option) func(http.Handler) http.Handler {
	switch {
	case g == nil:
		panic("httpmw: nil Guard")
	case key == nil:
		panic("httpmw: nil KeyFunc")
	}
	m := &middleware{guard: g, key: key, refuse: Problem, named: make(map[string]*guard.Guard)}
	for _, opt := range opts {
		if opt == nil {
			panic("httpmw: an Option is nil")
		}
		opt.apply(m)
	}
	return func(next http.Handler) http.Handler {
		if next == nil {
			panic("httpmw: nil Handler")
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, next) })
	}
}

type middleware struct {
	guard  *guard.Guard
	key    KeyFunc
	refuse func(http.ResponseWriter, *http.Request, error)

	mu    sync.RWMutex
	named map[string]*guard.Guard // by the pattern that routed the request
}

func (m *middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	key, err := m.key(r)
	if err != nil {
		m.refuse(w, r, noKey(err))
		return
	}
	res := newResponse(w, r, key)
	err = m.guardFor(r.Pattern).Do(r.Context(), key, func(ctx context.Context) error {
		res.serve(ctx, next)
		return nil // so that every error of Do is guard's
	})
	switch res.conclude(err) {
	case whole:
		res.finish()
	case unsent:
		m.refuse(w, r, res.loss)
	case half:
		res.abort()
	case taken: // by Hijack: whoever has the connection has the context too
	}
}

// guardFor returns the guard whose observers know requests by pattern.
func (m *middleware) guardFor(pattern string) *guard.Guard {
	m.mu.RLock()
	g := m.named[pattern]
	m.mu.RUnlock()
	if g != nil {
		return g
	}
	name := pattern
	if name == "" {
		name = unrouted
	}
	g = m.guard.With(guard.Fallback(guard.Wait(defaultWait), guard.Name(name)))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.named[pattern] = g // patterns are as few as routes
	return g
}
