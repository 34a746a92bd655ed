package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"sync"
	"time"
)

//go:embed web
var webFiles embed.FS

// feed carries views to all who watch. Most tell only what has changed since the one
// before. Who has just come, or has missed one, waits for a whole one, which is made
// when somebody waits.
type feed struct {
	mu       sync.Mutex // guards what follows
	latest   []byte
	n        int // of latest
	whole    bool
	changed  chan struct{} // closed when latest is replaced
	watchers int
	starting int // watchers that wait for a whole view
}

func newFeed() *feed { return &feed{changed: make(chan struct{})} }

// wanted tells whether a view is worth making, and whether a whole one is.
func (f *feed) wanted() (some, whole bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watchers > 0, f.starting > 0
}

func (f *feed) publish(view []byte, whole bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latest, f.whole = view, whole
	f.n++
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *feed) count(watchers, starting int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers += watchers
	f.starting += starting
}

// newest returns the latest view and its number, and a channel that is closed when the
// next one is there.
func (f *feed) newest() (view []byte, n int, whole bool, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest, f.n, f.whole, f.changed
}

// sendLimit is how long a client may take to take a view.
const sendLimit = 5 * time.Second

// ServeHTTP sends views as server-sent events until the client leaves.
func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	_ = out.SetWriteDeadline(time.Now().Add(sendLimit)) // without one a dead client costs a goroutine
	if _, err := fmt.Fprint(w, "retry: 500\n\n"); err != nil || out.Flush() != nil {
		return
	}
	starting := 1
	f.count(1, starting)
	defer func() { f.count(-1, -starting) }()
	_, last, _, changed := f.newest() // what was made for others is old
	for {
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		var view []byte
		var n int
		var whole bool
		view, n, whole, changed = f.newest()
		switch {
		case whole:
			f.count(0, -starting)
			starting = 0
		case starting == 0 && n != last+1: // one is missing
			starting = 1
			f.count(0, starting)
		}
		last = n
		if starting > 0 {
			continue
		}
		_ = out.SetWriteDeadline(time.Now().Add(sendLimit))
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

// handler is the page, what it needs, and the shop's door. names are those of this
// server, beside its addresses.
func handler(f *feed, m *market, actions chan<- action, names ...string) (http.Handler, error) {
	files, err := fs.Sub(webFiles, "web")
	if err != nil {
		return nil, err
	}
	act := func(w http.ResponseWriter, r *http.Request, name string, replica int) {
		done := make(chan error, 1)
		err := press(r.Context(), actions, action{name, replica, done}, done)
		switch {
		case errors.Is(err, errNoReplica):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusConflict)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}
	mux := http.NewServeMux()
	if err := servePage(mux, files); err != nil {
		return nil, err
	}
	mux.Handle("GET /events", f)
	mux.Handle("POST /skus/{sku}/orders", m.proxy())
	for _, on := range []string{"on", "off"} {
		mux.HandleFunc("POST /guard/"+on, func(w http.ResponseWriter, r *http.Request) { act(w, r, "guard "+on, 0) })
	}
	for _, name := range []string{"stall", "kill", "cut", "go-on"} {
		mux.HandleFunc("POST /replicas/{n}/"+name, func(w http.ResponseWriter, r *http.Request) {
			n, err := strconv.Atoi(r.PathValue("n"))
			if err != nil {
				http.NotFound(w, r)
				return
			}
			act(w, r, name, n-1)
		})
	}
	all := http.NewServeMux()
	all.HandleFunc("GET /metrics", m.metrics) // a scraper comes by whatever name
	all.Handle("/", private(mux, names...))   // no other page may press the buttons
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		all.ServeHTTP(w, r)
	}), nil
}

// servePage has a pattern for each file: one for all paths would answer a GET of a button
// with 404, where the mux says 405 and what is allowed.
func servePage(mux *http.ServeMux, files fs.FS) error {
	server := http.FileServerFS(files)
	mux.Handle("GET /{$}", server)
	return fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			mux.Handle("GET /"+path, server)
		}
		return err
	})
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
