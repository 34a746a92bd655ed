package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"sync"
	"time"
)

//go:embed web
var webFiles embed.FS

// feed carries the newest view to all who watch.
type feed struct {
	mu       sync.Mutex // guards what follows
	latest   []byte
	changed  chan struct{} // closed when latest is replaced
	watchers int
}

func newFeed() *feed { return &feed{changed: make(chan struct{})} }

// watched tells whether a view is worth making.
func (f *feed) watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watchers > 0
}

func (f *feed) publish(view []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latest = view
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *feed) count(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers += n
}

func (f *feed) newest() (view []byte, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest, f.changed
}

// ServeHTTP sends views as server-sent events until the client leaves. One that is
// slow misses views.
func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.count(1)
	defer f.count(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	if _, err := fmt.Fprint(w, "retry: 500\n\n"); err != nil || out.Flush() != nil {
		return
	}
	_, changed := f.newest() // what was made for others is old
	for {
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		var view []byte
		view, changed = f.newest()
		_ = out.SetWriteDeadline(time.Now().Add(5 * time.Second)) // without one a dead client costs a goroutine
		if _, err := fmt.Fprintf(w, "data: %s\n\n", view); err != nil || out.Flush() != nil {
			return
		}
	}
}

// action is a button.
type action struct {
	name    string
	replica int
	done    chan<- error // buffered
}

// handler is the page, what it needs, and the shop's door.
func handler(f *feed, m *market, actions chan<- action) (http.Handler, error) {
	files, err := fs.Sub(webFiles, "web")
	if err != nil {
		return nil, err
	}
	act := func(w http.ResponseWriter, r *http.Request, name string, replica int) {
		done := make(chan error, 1)
		if err := press(r.Context(), actions, action{name, replica, done}, done); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.Handle("GET /events", f)
	mux.Handle("POST /skus/{sku}/orders", m.proxy())
	mux.HandleFunc("POST /guard/{name}", func(w http.ResponseWriter, r *http.Request) {
		act(w, r, "guard "+r.PathValue("name"), 0)
	})
	mux.HandleFunc("POST /replicas/{n}/{name}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		act(w, r, r.PathValue("name"), n-1)
	})
	// No other page may press the buttons.
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})), nil
}

// press has the goroutine of serve do an action.
func press(ctx context.Context, actions chan<- action, a action, done <-chan error) error {
	select {
	case actions <- a:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
