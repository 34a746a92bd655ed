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
// it sets no Name it is the request's Pattern, or "http" if there is none. What
// the returned function wraps shares its count of waiting requests: [MaxWaiting].
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
	m := &middleware{
		options: o, guard: g, key: key, routes: make(map[string]*route),
		visits: visits{most: o.maxWaiting, keys: make(map[string]*atKey)},
	}
	return func(next http.Handler) http.Handler {
		if next == nil {
			panic("httpmw: nil Handler")
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, next) })
	}
}

type middleware struct {
	options
	guard  *guard.Guard
	key    KeyFunc
	visits visits

	mu     sync.RWMutex
	routes map[string]*route // by the pattern that routed the request
}

// route is what requests of one pattern share.
type route struct {
	guard *guard.Guard // has the pattern as its name
	pace  *pace
}

func (m *middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	key, err := m.key(r)
	if err != nil {
		m.refuse(w, r, refusal{error: noKey(err)})
		return
	}
	to := m.routeOf(r.Pattern)
	v, admitted := m.visits.enter(key, to.pace, guard.Holding(r.Context(), key))
	if !admitted {
		m.refuse(w, r, refusalOf(&guard.Error{Op: "do", Key: key, Kind: guard.ErrBusy, Err: ErrMaxWaiting}, v))
		return
	}
	defer v.end()
	res := newResponse(w, r, key)
	err = to.guard.Do(r.Context(), key, func(ctx context.Context) error {
		v.begin()
		defer v.end()
		res.serve(ctx, next)
		return nil // so that every error of Do is guard's
	})
	switch res.conclude(err) {
	case complete:
		res.finish()
	case unsent:
		m.refuse(w, r, refusalOf(res.loss, v))
	case partial:
		res.abort()
	case taken: // by Hijack: the handler sees the loss in its context
	}
}

// routeOf returns the route of pattern.
func (m *middleware) routeOf(pattern string) *route {
	m.mu.RLock()
	to := m.routes[pattern]
	m.mu.RUnlock()
	if to != nil {
		return to
	}
	name := pattern
	if name == "" {
		name = unrouted
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.routes[pattern] == nil { // there are as many patterns as routes
		g := m.guard.With(guard.Fallback(guard.Wait(defaultWait), guard.Name(name)))
		m.routes[pattern] = &route{g, newPace()}
	}
	return m.routes[pattern]
}
