package routers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waitLimit bounds each wait; a busy machine stays below.
const waitLimit = 30 * time.Second

const (
	path = "/stock/a42"
	key  = "sku:a42"
)

// A router serves "/stock/{sku}", in its own notation, with h: as the documented code
// does it under g, or without a guard if g is nil. Its middlewares recover from
// panics, as usual in the framework, and further out call seen with the outcome.
type router struct {
	pattern string
	serve   func(g *guard.Guard, h http.HandlerFunc, seen func(outcome)) http.Handler
}

var routers = map[string]router{
	"chi":  {"/stock/{sku}", serveChi},
	"gin":  {"/stock/:sku", serveGin},
	"echo": {"/stock/:sku", serveEcho},
}

// outcome is what a framework's middlewares see of an answer afterwards.
type outcome struct {
	status, size int
	written      bool // the header was sent
	aborted      bool // gin: IsAborted
	left         error
}

// world is a real server and the store behind it.
type world struct {
	*httptest.Server
	t     testing.TB
	store *guardtest.Store
	log   *logged      // what net/http logged
	names chan string  // of the runs, as observers see them
	seen  chan outcome // one for each request that did not end in a panic
}

func (w *world) report(o outcome) {
	if owner, held := w.store.Holder(key); held && owner != "thief" && owner != "rival" {
		w.t.Error("the guard is left before the key is given back")
	}
	w.seen <- o
}

// outside returns the outcome of the last request.
func (w *world) outside() outcome {
	w.t.Helper()
	select {
	case o := <-w.seen:
		return o
	case <-time.After(waitLimit):
		w.t.Fatal("the middlewares further out did not get to an end")
		return outcome{}
	}
}

// newWorld serves what build returns, with a guard that does not wait.
func newWorld(t testing.TB, build func(w *world, g *guard.Guard) http.Handler) *world {
	t.Helper()
	w := &world{t: t, store: guardtest.NewStore(), log: &logged{}, names: make(chan string, 100), seen: make(chan outcome, 100)}
	g, err := guard.New(w.store, guard.Wait(0), guard.Observe(names{guard.LogObserver(slog.New(slog.DiscardHandler)), w.names}))
	if err != nil {
		t.Fatal(err)
	}
	w.Server = httptest.NewUnstartedServer(build(w, g))
	w.Config.ErrorLog = log.New(w.log, "", 0)
	w.Start()
	t.Cleanup(func() {
		w.Close()
		if s := w.log.take(); s != "" {
			t.Errorf("net/http complained: %s", s)
		}
		for _, k := range w.store.Keys() {
			if owner, _ := w.store.Holder(k); owner != "thief" && owner != "rival" {
				t.Errorf("key %q is left behind", k)
			}
		}
	})
	return w
}

// eachRouter runs test for every router, with a function that starts it.
func eachRouter(t *testing.T, test func(t *testing.T, pattern string, start func(http.HandlerFunc) *world)) {
	for name, r := range routers {
		t.Run(name, func(t *testing.T) {
			test(t, r.pattern, func(h http.HandlerFunc) *world {
				return newWorld(t, func(w *world, g *guard.Guard) http.Handler { return r.serve(g, h, w.report) })
			})
		})
	}
}

// names records the names of runs.
type names struct {
	guard.Observer
	ch chan string
}

func (n names) AcquireStart(ctx context.Context, a guard.AcquireStart) context.Context {
	n.ch <- a.Name
	return ctx
}

// answer is the response that a client got.
type answer struct {
	*http.Response
	body string
	err  error // of the request, or of reading the body to its end
}

func (w *world) post(path string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.URL+path, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	client := *w.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res, string(b), err}
}

// dial connects without an http.Client, for requests that it would not send or
// responses that it would hide.
func (w *world) dial() net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() }) // the test may have closed it
	if err := conn.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

// is checks status and body.
func (a answer) is(t testing.TB, status int, body string) {
	t.Helper()
	if a.err != nil || a.StatusCode != status || a.body != body {
		t.Errorf("got %+v, want %d %q", a, status, body)
	}
}

// isProblem checks an answer of the guard.
func (a answer) isProblem(t testing.TB, status int, retryAfter string) {
	t.Helper()
	if a.err != nil || a.StatusCode != status || a.Header.Get("Retry-After") != retryAfter ||
		a.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(a.body, `"detail"`) {
		t.Errorf("got %+v, want a %d and Retry-After %q", a, status, retryAfter)
	}
}

// lose takes the lease away from the run of ctx and returns when the context has
// ended.
func (w *world) lose(ctx context.Context) {
	w.store.Hold(key, "thief")
	_ = guard.Ensure(ctx, 9*time.Second) // more than is left, so it asks the store now
	select {
	case <-ctx.Done():
	case <-time.After(waitLimit):
	}
	if !errors.Is(context.Cause(ctx), guard.ErrLost) {
		w.t.Errorf("cause %v, want ErrLost", context.Cause(ctx))
	}
}

// logged is an error log.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take empties the log.
func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}
