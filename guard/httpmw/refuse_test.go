package httpmw_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/httpmw"
)

// isProblem checks an answer of the middleware itself.
func isProblem(t testing.TB, a answer, status int, retryAfter string) {
	t.Helper()
	if a.err != nil {
		t.Errorf("no answer: %v", a.err)
		return
	}
	if a.StatusCode != status || a.Header.Get("Retry-After") != retryAfter {
		t.Errorf("status %d, Retry-After %q, want %d, %q", a.StatusCode, a.Header.Get("Retry-After"), status, retryAfter)
	}
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	if a.Request.Method == http.MethodHead {
		return
	}
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Errorf("body %q: %v", a.body, err)
	}
	if p.Type != "about:blank" || p.Title != http.StatusText(status) || p.Status != status || p.Detail == "" {
		t.Errorf("body %s", a.body)
	}
	for _, secret := range []string{"a42", "sku", "guardtest", "rival", "thief"} {
		if strings.Contains(a.body, secret) {
			t.Errorf("body %s contains %q", a.body, secret)
		}
	}
}

func TestBusyIs409WithRetryAfter(t *testing.T) {
	w := newWorld(t, never(t), withGuard(guard.Wait(0)))
	w.store.Hold(key, "rival")
	isProblem(t, w.get("GET"), http.StatusConflict, "1")
}

func TestRetryAfterIsInWholeSecondsRoundedUp(t *testing.T) {
	for left, want := range map[time.Duration]string{
		-5 * time.Second: "1", 0: "1", 1: "1", time.Second: "1", time.Second + 1: "2", 2 * time.Second: "2", 9999 * time.Millisecond: "10",
	} {
		refuse := func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				httpmw.Problem(w, r, &guard.Error{Kind: guard.ErrBusy, RetryAfter: left})
			})
		}
		w := newWorld(t, never(t), withOuter(refuse))
		isProblem(t, w.get("GET"), http.StatusConflict, want)
	}
}

func TestBusyHeadRequestIsAnsweredWithoutABody(t *testing.T) {
	w := newWorld(t, never(t), withGuard(guard.Wait(0)))
	w.store.Hold(key, "rival")
	a := w.get("HEAD")
	isProblem(t, a, http.StatusConflict, "1")
	if a.body != "" {
		t.Errorf("body %q", a.body)
	}
}

func TestMethodThatIsNotWrappedIsNotGuarded(t *testing.T) {
	w := newWorld(t, never(t), withGuard(guard.Wait(0)))
	w.mux.HandleFunc("GET /stock/{sku}", ok)
	w.store.Hold(key, "rival")
	if a := w.get("GET"); !a.whole() || a.StatusCode != http.StatusOK || a.body != "done" {
		t.Errorf("got %+v", a)
	}
	isProblem(t, w.get("POST"), http.StatusConflict, "1")
}

func TestStoreDownIs503WithRetryAfter(t *testing.T) {
	w := newWorld(t, never(t), withGuard(guard.Wait(0)))
	w.store.Fail(errors.New("connection refused"))
	isProblem(t, w.get("GET"), http.StatusServiceUnavailable, "1")
	w.store.Fail(nil)
}

func TestShutdownIs503OnAConnectionThatCloses(t *testing.T) {
	w := newWorld(t, never(t))
	w.store.Hold(key, "rival")
	done := make(chan answer)
	go func() { done <- w.get("GET") }()
	w.eventually("the request waits", func() bool { return w.store.Waiting(key) == 1 })
	if err := w.guard.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for _, a := range []answer{<-done, w.get("GET")} { // waiting, and after it
		isProblem(t, a, http.StatusServiceUnavailable, "1")
		if a.err == nil && !a.Close {
			t.Error("the connection is kept")
		}
	}
}

func TestHandlerCancelledByShutdownStillAnswers(t *testing.T) {
	running := make(chan struct{})
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		close(running)
		<-r.Context().Done()
		if !errors.Is(context.Cause(r.Context()), guard.ErrClosed) || !guard.Holding(r.Context(), key) {
			t.Errorf("cause %v, holding %v", context.Cause(r.Context()), guard.Holding(r.Context(), key))
		}
		ok(w, r)
	})
	done := make(chan answer)
	go func() { done <- w.get("GET") }()
	begun(t, running, done)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = w.guard.Shutdown(ctx) // it cancels a run
	if a := <-done; !a.whole() || a.StatusCode != http.StatusOK || a.body != "done" {
		t.Errorf("got %+v", a)
	}
}

func TestEmptyComponentIs400(t *testing.T) {
	w := newWorld(t, ok)
	mw := httpmw.New(w.guard, httpmw.PathValue("sku"))
	w.mux.Handle("/misnamed/{id}", mw(never(t)))
	w.mux.Handle("/rest/{sku...}", mw(never(t)))
	w.mux.Handle("/outside/", mw(http.NewServeMux()))
	w.mux.Handle("/header", httpmw.New(w.guard, httpmw.Header("X-Tenant"))(never(t)))
	w.mux.Handle("/own", httpmw.New(w.guard, func(*http.Request) (string, error) { return "", nil })(never(t)))
	w.mux.Handle("/joined/{sku}", httpmw.New(w.guard, httpmw.Join(httpmw.PathValue("sku"), httpmw.Header("X-Tenant")))(never(t)))
	for _, path := range []string{"/misnamed/a42", "/rest/", "/outside/a42", "/header", "/own", "/joined/a42"} {
		isProblem(t, w.request(t.Context(), "GET", path, nil), http.StatusBadRequest, "")
	}
	if n := w.store.Calls(guardtest.OpAcquire); n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
}

func TestKeyThatCannotBeUsedIs400(t *testing.T) {
	failed := errors.New("no session")
	w := newWorld(t, ok)
	for path, f := range map[string]httpmw.KeyFunc{
		"/failed":  func(*http.Request) (string, error) { return "", failed },
		"/long":    func(*http.Request) (string, error) { return strings.Repeat("x", 600), nil },
		"/busy":    func(*http.Request) (string, error) { return "", fmt.Errorf("session: %w", guard.ErrBusy) },
		"/control": func(*http.Request) (string, error) { return "a\x00b", nil },
	} {
		w.mux.Handle(path, httpmw.New(w.guard, f)(never(t)))
		isProblem(t, w.request(t.Context(), "GET", path, nil), http.StatusBadRequest, "")
	}
	got := make(chan error, 1)
	w.mux.Handle("/custom", httpmw.New(w.guard, func(*http.Request) (string, error) { return "", failed },
		httpmw.WithErrorHandler(func(_ http.ResponseWriter, _ *http.Request, err error) { got <- err }))(never(t)))
	w.request(t.Context(), "GET", "/custom", nil)
	if err := await(t, "the error", got); !errors.Is(err, failed) || !errors.Is(err, guard.ErrInvalidKey) {
		t.Errorf("error %v", err)
	}
}

func TestErrorHandlerReplacesTheAnswerAndIsCalledOnce(t *testing.T) {
	var calls atomic.Int32
	var w *world
	teapot := httpmw.WithErrorHandler(func(w http.ResponseWriter, r *http.Request, err error) {
		calls.Add(1)
		var e *guard.Error
		if !errors.As(err, &e) || e.Key != key || r.PathValue("sku") != "a42" {
			t.Errorf("error %v, request %v", err, r)
		}
		w.WriteHeader(http.StatusTeapot)
	})
	for name, c := range map[string]struct {
		want error
		h    http.HandlerFunc
		prep func()
	}{
		"busy": {guard.ErrBusy, never(t), func() { w.store.Hold(key, "rival") }},
		"down": {guard.ErrUnavailable, never(t), func() { w.store.Inject(guardtest.Fault{Op: guardtest.OpAcquire, Err: errors.New("down")}) }},
		"lost": {guard.ErrLost, func(_ http.ResponseWriter, r *http.Request) { w.lose(r.Context()) }, func() {}},
	} {
		t.Run(name, func(t *testing.T) {
			calls.Store(0)
			w = newWorld(t, c.h, withGuard(guard.Wait(0)), withOptions(teapot))
			c.prep()
			if a := w.get("GET"); a.StatusCode != http.StatusTeapot || a.body != "" {
				t.Errorf("got %+v", a)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("called %d times", n)
			}
			w.store.Fail(nil)
		})
	}
}

// starts records the AcquireStart that observers get.
type starts struct {
	guard.Observer
	ch chan guard.AcquireStart
}

func newStarts() starts {
	return starts{guard.LogObserver(slog.New(slog.DiscardHandler)), make(chan guard.AcquireStart, 10)}
}

func (s starts) AcquireStart(ctx context.Context, a guard.AcquireStart) context.Context {
	s.ch <- a
	return ctx
}

func TestDefaultWaitIsTwoSeconds(t *testing.T) {
	for name, c := range map[string]struct {
		opts []guard.Option
		want time.Duration
	}{
		"unset":   {nil, 2 * time.Second},
		"set":     {[]guard.Option{guard.Wait(time.Minute)}, time.Minute},
		"none":    {[]guard.Option{guard.Wait(0)}, 0},
		"forever": {[]guard.Option{guard.Forever()}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			obs := newStarts()
			w := newWorld(t, ok, withGuard(append(c.opts, guard.Observe(obs))...))
			w.get("GET")
			got := await(t, "the observer", obs.ch).Wait
			if got != c.want && (c.want >= 0 || got >= 0) {
				t.Errorf("waits %v, want %v", got, c.want)
			}
		})
	}
}

func TestObserversSeeTheRoutePattern(t *testing.T) {
	obs := newStarts()
	w := newWorld(t, ok, withGuard(guard.Observe(obs)))
	mw := httpmw.New(w.guard, httpmw.PathValue("sku"))
	w.mux.Handle("POST /a/{sku}", mw(http.HandlerFunc(ok)))
	w.mux.Handle("GET /a/{sku}", mw(http.HandlerFunc(ok)))
	w.mux.Handle("/named/{sku}", httpmw.New(w.guard.With(guard.Name("orders")), httpmw.PathValue("sku"))(http.HandlerFunc(ok)))
	w.mux.Handle("/unrouted/{sku}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Pattern = "" // as with a router that sets none
		mw(http.HandlerFunc(ok)).ServeHTTP(w, r)
	}))
	for _, c := range []struct{ method, path, want string }{
		{"POST", "/a/1", "POST /a/{sku}"},
		{"GET", "/a/1", "GET /a/{sku}"},
		{"POST", "/a/2", "POST /a/{sku}"},
		{"GET", "/named/1", "orders"},
		{"GET", "/unrouted/1", "http"},
	} {
		w.request(t.Context(), c.method, c.path, nil)
		if got := await(t, "the observer", obs.ch).Name; got != c.want {
			t.Errorf("%s %s: name %q, want %q", c.method, c.path, got, c.want)
		}
	}
}

func TestMisusePanicsWithWhatIsWrong(t *testing.T) {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	sku := httpmw.PathValue("sku")
	for want, f := range map[string]func(){
		"httpmw: nil Guard":                                         func() { httpmw.New(nil, sku) },
		"httpmw: nil KeyFunc":                                       func() { httpmw.New(g, nil) },
		"httpmw: an Option is nil":                                  func() { httpmw.New(g, sku, nil) },
		"httpmw: nil Handler":                                       func() { httpmw.New(g, sku)(nil) },
		"httpmw: WithErrorHandler: the handler is nil":              func() { httpmw.New(g, sku, httpmw.WithErrorHandler(nil)) },
		"httpmw: PathValue: no name of a wildcard, or an empty one": func() { httpmw.PathValue("a", "") },
		"httpmw: Header: the name is empty":                         func() { httpmw.Header("") },
		"httpmw: Join: no KeyFunc":                                  func() { httpmw.Join() },
		"httpmw: Join: a KeyFunc is nil":                            func() { httpmw.Join(sku, nil) },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("panicked with %v, want %q", got, want)
				}
			}()
			f()
		}()
	}
}

func TestNothingWasDoneIsSaidOnlyOfRefusals(t *testing.T) {
	busy := &guard.Error{Op: "do", Kind: guard.ErrBusy}
	for name, c := range map[string]struct {
		err    error
		status int
	}{
		"of the program":         {errors.New("disk full"), http.StatusInternalServerError},
		"of its own context":     {context.DeadlineExceeded, http.StatusInternalServerError},
		"of a run in the middle": {fmt.Errorf("second step: %w", busy), http.StatusConflict},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(w http.ResponseWriter, r *http.Request) { httpmw.Problem(w, r, c.err) })
			a := w.get("GET")
			if a.err != nil || a.StatusCode != c.status || strings.Contains(a.body, "Nothing was done") {
				t.Errorf("got %d, %s, %v", a.StatusCode, a.body, a.err)
			}
		})
	}
	var w *world
	w = newWorld(t, func(_ http.ResponseWriter, r *http.Request) { w.lose(r.Context()) })
	if a := w.get("GET"); a.StatusCode != http.StatusServiceUnavailable || strings.Contains(a.body, "Nothing was done") {
		t.Errorf("after a loss: got %s", a.body)
	}
	w = newWorld(t, never(t), withGuard(guard.Wait(0)))
	w.store.Hold(key, "rival")
	if a := w.get("GET"); !strings.Contains(a.body, "Nothing was done") || strings.Contains(a.body, "nother request") {
		t.Errorf("got %s", a.body)
	}
}

func TestAnswersAreUTF8WhateverKeyAndHolderAre(t *testing.T) {
	var w *world
	read := make(chan string, 1)
	w = newWorld(t, func(_ http.ResponseWriter, r *http.Request) {
		w.store.Hold(guard.Key("sku", "\xff"), "rival")
		_ = guard.Ensure(r.Context(), 9*time.Second) // more than is left, so it asks the store now
	}, withGuard(guard.Wait(0)), withOptions(httpmw.WithErrorHandler(func(_ http.ResponseWriter, _ *http.Request, err error) {
		read <- err.Error() // Problem answers
	})))
	w.mux.HandleFunc("/failed", func(w http.ResponseWriter, r *http.Request) { httpmw.Problem(w, r, errors.New("\xff")) })
	for name, c := range map[string]struct {
		path   string
		status int
		holder string
	}{
		"lost":             {"/stock/%ff", http.StatusServiceUnavailable, ""},
		"busy":             {"/stock/%ff", http.StatusConflict, "\xfe\xff"},
		"of the program's": {"/failed", http.StatusInternalServerError, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w.store.Expire(guard.Key("sku", "\xff"))
			if c.holder != "" {
				w.store.Hold(guard.Key("sku", "\xff"), c.holder)
			}
			a := w.request(t.Context(), "GET", c.path, nil)
			isProblem(t, a, c.status, a.Header.Get("Retry-After"))
			text := a.body
			if c.path != "/failed" {
				text += await(t, "the error", read)
			}
			for name, values := range a.Header {
				text += name + strings.Join(values, "")
			}
			if !utf8.ValidString(text) {
				t.Errorf("not UTF-8: %q", text)
			}
		})
	}
	w.store.Expire(guard.Key("sku", "\xff"))
}
