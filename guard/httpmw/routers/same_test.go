package routers

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/jobguard/jobguard/guard"
)

// sameAsBare checks that a client and the middlewares further out see the same of a
// handler with a guard as without one, while the lease lasts. build makes the router,
// without a guard if g is nil.
func sameAsBare(t *testing.T, build func(g *guard.Guard, seen func(outcome)) http.Handler) {
	t.Helper()
	run := func(guarded bool) string {
		w := newWorld(t, func(w *world, g *guard.Guard) http.Handler {
			if !guarded {
				g = nil
			}
			return build(g, w.report)
		})
		a := w.post(path)
		if a.err != nil {
			t.Fatal(a.err)
		}
		a.Header.Del("Date")
		return fmt.Sprintf("%d %v %q, outside %+v", a.StatusCode, a.Header, a.body, w.outside())
	}
	if bare, guarded := run(false), run(true); bare != guarded {
		t.Errorf("behind the guard it is\n%s\nand without\n%s", guarded, bare)
	}
}
