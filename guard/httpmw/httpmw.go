package httpmw

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard"
)

const (
	// defaultWait is how long a request waits where the guard sets no Wait: longer
	// than a short run, short enough for interactive use, and for a client that went
	// away unnoticed.
	defaultWait = 2 * time.Second

	// unrouted is the name for observers where the router set no pattern.
	unrouted = "http"
)

// New returns a middleware that runs its handler under g while the key of the request
// is held, and answers by itself where that fails: see the package documentation.
// Everything about the lease is set on g; where g sets no Wait it is 2 s, and where
// it sets no Name it is the request's Pattern, or "http" if there is none.
//
// Wrap each route by itself, inside the router, so that path values and pattern are
// known. New panics if g or key is nil or an option is out of bounds, and the
// function that it returns if its handler is nil.
func New(g *guard.Guard, key KeyFunc, opts ...Option) func(http.Handler) http.Handler {
	switch {
	case g == nil:
		panic("httpmw: nil Guard")
	case key == nil:
		panic("httpmw: nil KeyFunc")
	}
	o, err := newOptions(opts)
	if err != nil {
		panic("httpmw: " + err.Error())
	}
	m := &middleware{options: o, guard: g, key: key, named: make(map[string]*guard.Guard)}
	return func(next http.Handler) http.Handler {
		if next == nil {
			panic("httpmw: nil Handler")
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, next) })
	}
}

type middleware struct {
	options
	guard *guard.Guard
	key   KeyFunc

	mu    sync.RWMutex
	named map[string]*guard.Guard // by the pattern that routed the request
}

func (m *middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	key, err := m.key(r)
	if err != nil {
		m.refuse(w, r, refusal{noKey(err)})
		return
	}
	res := newResponse(w, r, key)
	err = m.guardFor(r.Pattern).Do(r.Context(), key, func(ctx context.Context) error {
		res.serve(ctx, next)
		return nil // so that every error of Do is guard's
	})
	switch res.conclude(err) {
	case complete:
		res.finish()
	case unsent:
		m.refuse(w, r, refusal{res.loss})
	case partial:
		res.abort()
	case taken: // by Hijack: the handler sees the loss in its context
	}
}

// guardFor returns the guard that has pattern as its name.
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
	m.named[pattern] = g // there are as many patterns as routes
	return g
}
