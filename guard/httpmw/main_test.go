package httpmw_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/httpmw"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waitLimit bounds each wait; a busy machine stays below.
const waitLimit = 30 * time.Second

// requestLimit is longer than a request waits that is served in the end.
const requestLimit = 2 * waitLimit

// All requests of these tests have one key.
const (
	path = "/stock/a42"
	key  = "sku:a42"
)

// world is a real server with a guarded route "/stock/{sku}".
type world struct {
	*httptest.Server
	t     testing.TB
	store *guardtest.Store
	guard *guard.Guard
	log   *logged // what net/http logged

	mux   *http.ServeMux
	outer func(http.Handler) http.Handler // around the middleware
	opts  []httpmw.Option
}

type with func(*world)

func withGuard(opts ...guard.Option) with {
	return func(w *world) { w.guard = w.guard.With(opts...) }
}

func withOptions(opts ...httpmw.Option) with { return func(w *world) { w.opts = opts } }

func withOuter(mw func(http.Handler) http.Handler) with { return func(w *world) { w.outer = mw } }

// newWorld starts the server; its handler is h.
func newWorld(t testing.TB, h http.HandlerFunc, opts ...with) *world {
	t.Helper()
	w := prepare(t, h, opts...)
	w.Start()
	return w
}

func prepare(t testing.TB, h http.HandlerFunc, opts ...with) *world {
	t.Helper()
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: store, guard: g, log: &logged{}, mux: http.NewServeMux()}
	w.outer = func(h http.Handler) http.Handler { return h }
	for _, opt := range opts {
		opt(w)
	}
	w.mux.Handle("/stock/{sku}", w.outer(httpmw.New(w.guard, httpmw.PathValue("sku"), w.opts...)(h)))
	w.Server = httptest.NewUnstartedServer(w.mux)
	w.Config.ErrorLog = log.New(w.log, "", 0)
	t.Cleanup(func() {
		if t.Failed() { // Close would wait for a request that is still in line, or runs until it is told to end
			ended, end := context.WithCancel(context.Background())
			end()
			_ = w.guard.Shutdown(ended)
		}
		w.Close()
		if s := w.log.String(); s != "" {
			t.Errorf("net/http complained: %s", s)
		}
		// A request can be answered before its lease is released.
		w.eventually("no key is left behind", func() bool {
			for _, k := range store.Keys() {
				if owner, _ := store.Holder(k); owner != "thief" && owner != "rival" {
					return false
				}
			}
			return true
		})
	})
	return w
}

// start starts a server that prepare made.
func (w *world) start(http2 bool) {
	if http2 {
		w.EnableHTTP2 = true
		w.StartTLS()
		return
	}
	w.Start()
}

// answer is the response that a client got.
type answer struct {
	*http.Response
	body string
	err  error // of the request, or of reading the body to its end
}

// whole reports whether the client takes the response for complete.
func (a answer) whole() bool { return a.err == nil }

func (w *world) get(method string) answer { return w.request(w.t.Context(), method, path, nil) }

func (w *world) request(ctx context.Context, method, path string, body io.Reader) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, w.URL+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.do(r)
}

func (w *world) do(r *http.Request) answer {
	ctx, cancel := context.WithTimeout(r.Context(), requestLimit)
	defer cancel()
	res, err := w.Client().Do(r.WithContext(ctx))
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res, string(b), err}
}

// dial connects without an http.Client, for requests that it would not send or
// responses that it would hide.
func dial(t testing.TB, w *world) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", w.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the test may have closed it itself
	if err := conn.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(waitLimit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Errorf("in vain waited until %s", what)
			return
		}
	}
}

// await receives from c. What a failure keeps from coming fails the test, and does not hold it up.
func await[T any](t testing.TB, what string, c <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(waitLimit):
		t.Fatalf("in vain waited for %s", what)
	}
	return got
}

// begun waits until the handler runs; done has the answer of a request that it does not run for.
func begun(t testing.TB, running <-chan struct{}, done <-chan answer) {
	t.Helper()
	select {
	case <-running:
	case a := <-done:
		t.Fatalf("the handler did not run: got %+v", a)
	case <-time.After(waitLimit):
		t.Fatal("in vain waited until the handler runs")
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

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// take empties the log.
func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") }

// never is a handler that must not run.
func never(t testing.TB) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") }
}
