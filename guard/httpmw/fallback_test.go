package httpmw_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/jobguard/jobguard/guard/httpmw"
)

func TestErrorHandlerThatWritesNothingLeavesItToProblem(t *testing.T) {
	for name, f := range map[string]func(http.ResponseWriter){
		"nothing":              func(http.ResponseWriter) {},
		"only a header":        func(w http.ResponseWriter) { w.Header().Set("Content-Length", "1000") },
		"only early hints":     func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) },
		"a copy that is empty": func(w http.ResponseWriter) { _, _ = io.Copy(w, onlyReader{strings.NewReader("")}) },
	} {
		t.Run(name, func(t *testing.T) {
			var w *world
			w = newWorld(t, func(_ http.ResponseWriter, r *http.Request) { w.lose(r.Context()) },
				withOptions(httpmw.WithErrorHandler(func(w http.ResponseWriter, _ *http.Request, _ error) { f(w) })))
			isProblem(t, w.get("GET"), http.StatusServiceUnavailable, "")
		})
	}
}

func TestErrorHandlerThatWritesIsTheOnlyOneToAnswer(t *testing.T) {
	plainly := func(h http.Handler) http.Handler { return h }
	for name, c := range map[string]struct {
		f     func(http.ResponseWriter) error
		outer func(http.Handler) http.Handler
		body  string
	}{
		"status": {func(w http.ResponseWriter) error { w.WriteHeader(http.StatusOK); return nil }, plainly, ""},
		"body":   {func(w http.ResponseWriter) error { _, err := io.WriteString(w, "mine"); return err }, plainly, "mine"},
		"copy": {func(w http.ResponseWriter) error {
			_, err := io.Copy(w, onlyReader{strings.NewReader("mine")})
			return err
		}, plainly, "mine"},
		"flush":                   {func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() }, plainly, ""},
		"flush of a bare wrapper": {func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() }, unwrapping, ""},
		"hijacked": {func(w http.ResponseWriter) error {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return err
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 \r\nConnection: close\r\n\r\nmine")
			return conn.Close()
		}, plainly, "mine"},
	} {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{}) // a client that has its answer may not wait for that
			w := newWorld(t, never(t), withOuter(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer close(over)
					c.outer(next).ServeHTTP(w, r)
				})
			}),
				withOptions(httpmw.WithErrorHandler(func(w http.ResponseWriter, _ *http.Request, _ error) {
					if err := c.f(w); err != nil {
						t.Error(err)
					}
				})))
			if err := w.guard.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if a := w.get("GET"); !a.whole() || a.StatusCode != http.StatusOK || a.body != c.body {
				t.Errorf("got %+v", a)
			}
			<-over
		})
	}
}
