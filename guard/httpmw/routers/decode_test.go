package routers

import (
	"net/http"
	"testing"

	"github.com/jobguard/jobguard/guard"
)

// decodes checks what docs/behaviour/httpmw.md says about URL.RawPath. build makes a
// router that calls before ahead of the routing, and seen in the handler with the
// path value.
func decodes(t *testing.T, build func(g *guard.Guard, before func(*http.Request), seen func(string)) http.Handler) {
	t.Helper()
	for name, c := range map[string]struct {
		before func(*http.Request)
		value  string
	}{
		"as sent": {func(*http.Request) {}, "a%3Ab"},
		"cleared": {func(r *http.Request) { r.URL.RawPath = "" }, "a:b"},
	} {
		t.Run(name, func(t *testing.T) {
			values := make(chan string, 1)
			w := newWorld(t, func(w *world, g *guard.Guard) http.Handler {
				return build(g, c.before, func(value string) {
					if _, held := w.store.Holder(guard.Key("sku", c.value)); !held {
						t.Errorf("held are %q", w.store.Keys())
					}
					values <- value
				})
			})
			w.post("/stock/a%3Ab").is(t, http.StatusOK, "")
			select { // the handler ends before the client gets the response
			case got := <-values:
				if got != c.value {
					t.Errorf("the handler has %q, want %q", got, c.value)
				}
			default:
				t.Error("the handler did not run")
			}
		})
	}
}
