package httpmw_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/httpmw"
)

func TestClientGoneWhileWaitingLeavesTheQueueAtOnce(t *testing.T) {
	seen := make(chan error, 2)
	w := newWorld(t, never(t), withGuard(guard.Forever()),
		withOptions(httpmw.WithErrorHandler(func(w http.ResponseWriter, r *http.Request, err error) {
			seen <- err
			httpmw.Problem(w, r, err)
		})))
	w.store.Hold(key, "rival")
	for name, body := range map[string]string{"without a body": "", "with a body that was read": "all of it"} {
		t.Run(name, func(t *testing.T) {
			w.mux.Handle("/"+strings.ReplaceAll(name, " ", "-")+"/{sku}", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				r.URL.Path = path
				w.mux.ServeHTTP(rw, r)
			}))
			conn := dial(t, w)
			fmt.Fprintf(conn, "POST /%s/a42 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", strings.ReplaceAll(name, " ", "-"), len(body), body)
			w.eventually("the request waits", func() bool { return w.store.Waiting(key) == 1 })
			conn.Close()
			w.eventually("the queue is empty", func() bool { return w.store.Waiting(key) == 0 })
			if err := await(t, "the error", seen); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want that of the context", err)
			}
		})
	}
}

func TestClientOfHTTP2GoneWhileWaitingLeavesTheQueueAtOnce(t *testing.T) {
	w := prepare(t, never(t), withGuard(guard.Forever()))
	w.start(true)
	w.store.Hold(key, "rival")
	for name, body := range map[string]io.Reader{"without a body": http.NoBody, "with a body": strings.NewReader("all of it")} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan answer)
			go func() { done <- w.request(ctx, "POST", path, body) }()
			w.eventually("the request waits", func() bool { return w.store.Waiting(key) == 1 })
			cancel()
			w.eventually("the queue is empty", func() bool { return w.store.Waiting(key) == 0 })
			<-done
		})
	}
}

func TestUnreadBodyHidesThatTheClientIsGoneUntilTheWaitIsOver(t *testing.T) {
	ran := make(chan error, 1)
	w := newWorld(t, func(_ http.ResponseWriter, r *http.Request) { ran <- r.Context().Err() }, withGuard(guard.Forever()))
	w.store.Hold(key, "rival")
	conn := dial(t, w)
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nall of it", path)
	w.eventually("the request waits", func() bool { return w.store.Waiting(key) == 1 })
	conn.Close()
	time.Sleep(100 * time.Millisecond) // enough to be noticed
	if n := w.store.Waiting(key); n != 1 {
		t.Errorf("%d wait", n)
	}
	w.store.Expire(key)
	select {
	case err := <-ran:
		if err != nil {
			t.Errorf("the context has ended: %v", err)
		}
	case <-time.After(waitLimit):
		t.Error("the handler did not run")
	}
}

func TestBodyIsNotReadBeforeTheHandler(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, withGuard(guard.Forever()))
	w.store.HoldFor(key, "rival", 50*time.Millisecond)
	a := w.request(t.Context(), "POST", path, strings.NewReader("all of it"))
	if !a.whole() || a.body != "all of it" {
		t.Errorf("got %+v", a)
	}
}

func TestContextEndedWhileWaitingIsAnswered(t *testing.T) {
	ended := make(chan context.CancelFunc, 1)
	timeout := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			ended <- cancel
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
	w := newWorld(t, never(t), withGuard(guard.Forever()), withOuter(timeout))
	w.store.Hold(key, "rival")
	done := make(chan answer)
	go func() { done <- w.get("GET") }()
	w.eventually("the request waits", func() bool { return w.store.Waiting(key) == 1 })
	await(t, "the request", ended)()
	isProblem(t, <-done, http.StatusConflict, "1")

	over := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
	isProblem(t, newWorld(t, never(t), withOuter(over)).get("GET"), http.StatusServiceUnavailable, "1")
}

func TestClientGoneWhileRunningKeepsTheKeyUntilTheHandlerReturns(t *testing.T) {
	gone, end := make(chan bool, 1), make(chan struct{})
	release := sync.OnceFunc(func() { close(end) })
	defer release() // the server's Close waits for the handler
	w := newWorld(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		gone <- guard.Holding(r.Context(), key)
		<-end
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan answer)
	go func() { done <- w.request(ctx, "GET", path, nil) }()
	w.eventually("the handler runs", func() bool { _, held := w.store.Holder(key); return held })
	cancel()
	<-done
	if !await(t, "the end of the request's context", gone) {
		t.Error("the key was given back while the handler ran")
	}
	release()
	w.eventually("the key is free", func() bool { return len(w.store.Keys()) == 0 })
}
