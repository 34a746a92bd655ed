package httpmw_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/jobguard/jobguard/guard/httpmw"
)

// nested puts a second middleware between the one of the world and h, which gets the
// context of the outer run too.
func nested(t testing.TB, key httpmw.KeyFunc, h func(http.ResponseWriter, *http.Request, context.Context)) *world {
	var w *world
	w = prepare(t, func(rw http.ResponseWriter, outer *http.Request) {
		httpmw.New(w.guard, key)(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			h(rw, r, outer.Context())
		})).ServeHTTP(rw, outer)
	})
	return w
}

var nestedKeys = map[string]httpmw.KeyFunc{
	"same key":    httpmw.PathValue("sku"),
	"another key": func(*http.Request) (string, error) { return "another", nil },
}

// The outer middleware's lease is lost, which is seen before the handler returns or
// only at the release.
func TestLossBreaksTheResponseOfNestedMiddlewares(t *testing.T) {
	for name, inner := range nestedKeys {
		for _, proto := range []string{"1.0", "1.1"} {
			for _, seen := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, HTTP/%s, seen %v", name, proto, seen), func(t *testing.T) {
					var w *world
					w = nested(t, inner, func(rw http.ResponseWriter, r *http.Request, outer context.Context) {
						if proto == "1.1" {
							rw.Header().Set("Content-Length", "4")
						}
						ok(rw, r)
						rw.(http.Flusher).Flush()
						if seen {
							w.lose(outer)
						} else {
							w.store.Hold(key, "thief")
						}
					})
					w.start(false)
					conn := dial(t, w)
					fmt.Fprintf(conn, "GET %s HTTP/%s\r\nHost: x\r\nConnection: close\r\n\r\n", path, proto)
					b, err := io.ReadAll(conn)
					if proto == "1.0" && err == nil || proto == "1.1" && len(b) > 0 && b[len(b)-1] == 'e' {
						t.Errorf("the client takes %q for whole", b)
					}
				})
			}
		}
	}
}

func TestNestedMiddlewaresLetTheLastByteOut(t *testing.T) {
	for name, inner := range nestedKeys {
		for _, http2 := range []bool{false, true} {
			w := nested(t, inner, func(rw http.ResponseWriter, r *http.Request, _ context.Context) {
				rw.Header().Set("Content-Length", "4")
				ok(rw, r)
			})
			w.start(http2)
			if a := w.get("GET"); !a.whole() || a.body != "done" {
				t.Errorf("%s, HTTP/2 %v: got %+v", name, http2, a)
			}
		}
	}
}
