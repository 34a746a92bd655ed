package httpmw_test

import (
	"net/http"
	"testing"
)

func TestPanicsPassThroughAfterTheRelease(t *testing.T) {
	for name, value := range map[string]any{"a value": "boom", "ErrAbortHandler": http.ErrAbortHandler} {
		t.Run(name, func(t *testing.T) {
			var w *world
			passed := make(chan any, 1)
			watch := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					defer func() {
						p := recover()
						if _, held := w.store.Holder(key); held {
							t.Error("the panic passes before the release")
						}
						passed <- p
						panic(http.ErrAbortHandler) // quietly
					}()
					next.ServeHTTP(rw, r)
				})
			}
			w = newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Length", "4")
				_, _ = rw.Write([]byte("done"))
				rw.(http.Flusher).Flush()
				panic(value)
			}, withOuter(watch))
			a := w.get("GET")
			if p := <-passed; p != value {
				t.Errorf("panic value %v, want %v", p, value)
			}
			if a.whole() {
				t.Errorf("got %+v", a)
			}
		})
	}
}

func TestPanicIsNetHTTPsToReport(t *testing.T) {
	w := newWorld(t, func(http.ResponseWriter, *http.Request) { panic("boom") })
	if a := w.get("GET"); a.whole() {
		t.Errorf("got %+v", a)
	}
	w.eventually("net/http reports it", func() bool { return w.log.take() != "" })
}

func TestFrameworkThatRecoversAnswersThroughTheGate(t *testing.T) {
	for name, lost := range map[string]bool{"lease lasted": false, "lease lost": true} {
		t.Run(name, func(t *testing.T) {
			var inner http.ResponseWriter
			var w *world
			w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				inner = rw
				rw.Header().Set("X-Handler", "half done")
				if lost {
					w.lose(r.Context())
				}
				panic("boom")
			}, withOuter(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					defer func() {
						_ = recover()
						inner.Header().Set("Content-Length", "9")
						inner.WriteHeader(http.StatusInternalServerError)
						if _, err := inner.Write([]byte("internal\n")); err != nil {
							t.Errorf("Write: %v", err)
						}
					}()
					next.ServeHTTP(rw, r)
				})
			}))
			a := w.get("GET")
			if !a.whole() || a.StatusCode != http.StatusInternalServerError || a.body != "internal\n" || (a.Header.Get("X-Handler") == "") != lost {
				t.Errorf("got %+v", a)
			}
		})
	}
}

func TestRecoveredPanicAfterALossBreaksTheResponse(t *testing.T) {
	for name, send := range sends {
		t.Run(name, func(t *testing.T) {
			var w *world
			w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				send(t, rw)
				w.lose(r.Context())
				panic("boom")
			}, withOuter(recovering))
			if a := w.get("GET"); a.whole() {
				t.Errorf("the client takes %d with %d bytes for whole", a.StatusCode, len(a.body))
			}
		})
	}
}

func TestRecoveredPanicDoesNotLetTheLastByteOut(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", "4")
		ok(rw, r)
		defer func() { _, _ = rw.Write([]byte("!")) }()
		panic("boom")
	}, withOuter(recovering))
	if a := w.get("GET"); a.whole() {
		t.Errorf("got %+v", a)
	}
}
