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
