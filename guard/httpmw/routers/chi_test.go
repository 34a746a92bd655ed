package routers

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/httpmw"
)

func serveChi(g *guard.Guard, sell http.HandlerFunc, seen func(outcome)) http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.RequestLogger(chiLog(seen)), middleware.Recoverer)
	if g == nil {
		r.Post("/stock/{sku}", sell)
		return r
	}
	r.With(httpmw.New(g, httpmw.PathValue("sku"))).Post("/stock/{sku}", sell)
	return r
}

// chiLog makes chi's logger call it.
type chiLog func(outcome)

func (l chiLog) NewLogEntry(*http.Request) middleware.LogEntry { return l }

func (l chiLog) Write(status, bytes int, _ http.Header, _ time.Duration, _ any) {
	l(outcome{status: status, size: bytes, written: status != 0})
}

func (chiLog) Panic(any, []byte) {}

func TestChiIsTheSameBehindTheGuard(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"nothing":     func(http.ResponseWriter, *http.Request) {},
		"a body":      func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") },
		"an error":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusNotFound) },
		"only status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) },
		"panic":       func(http.ResponseWriter, *http.Request) { panic("boom") },
	} {
		t.Run(name, func(t *testing.T) {
			sameAsBare(t, func(g *guard.Guard, seen func(outcome)) http.Handler { return serveChi(g, h, seen) })
		})
	}
}

func TestChiMiddlewareBehindTheGuardRunsWithTheHandler(t *testing.T) {
	runs := 0
	w := newWorld(t, func(_ *world, g *guard.Guard) http.Handler {
		r := chi.NewRouter()
		r.With(httpmw.New(g, httpmw.PathValue("sku")), func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				runs++
				next.ServeHTTP(w, r)
			})
		}).Post("/stock/{sku}", func(http.ResponseWriter, *http.Request) { runs += 10 })
		return r
	})
	w.post(path).is(t, http.StatusOK, "")
	w.store.Hold(key, "rival")
	w.post(path).isProblem(t, http.StatusConflict, "1")
	if runs != 11 {
		t.Errorf("runs %d", runs)
	}
}

func TestChiDecodesPathValuesWithoutRawPath(t *testing.T) {
	decodes(t, func(g *guard.Guard, before func(*http.Request), seen func(string)) http.Handler {
		r := chi.NewRouter()
		r.Use(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				before(r)
				next.ServeHTTP(w, r)
			})
		})
		r.With(httpmw.New(g, httpmw.PathValue("sku"))).Post("/stock/{sku}", func(_ http.ResponseWriter, r *http.Request) {
			seen(chi.URLParam(r, "sku"))
		})
		return r
	})
}

// This is why With must be used.
func TestChiMiddlewareByUseHasNoPathValues(t *testing.T) {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	r := chi.NewRouter()
	r.Use(httpmw.New(g, httpmw.PathValue("sku")))
	r.Post("/stock/{sku}", func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, http.NoBody))
	if w.Code != http.StatusBadRequest {
		t.Errorf("status %d", w.Code)
	}
}

func TestChiMiddlewareByUseInASubrouterGuardsAllBelow(t *testing.T) {
	w := newWorld(t, func(_ *world, g *guard.Guard) http.Handler {
		r := chi.NewRouter()
		r.Route("/stock/{sku}", func(r chi.Router) {
			r.Use(httpmw.New(g, httpmw.PathValue("sku")))
			r.Post("/", func(w http.ResponseWriter, r *http.Request) {
				if !guard.Holding(r.Context(), key) {
					t.Error("not held")
				}
				_, _ = io.WriteString(w, "sold")
			})
		})
		return r
	})
	w.post(path).is(t, http.StatusOK, "sold")
	if a := w.post(path + "/nothing"); a.StatusCode != http.StatusNotFound {
		t.Errorf("got %+v", a)
	}
	for _, want := range []string{"/stock/{sku}", "/stock/{sku}/*"} {
		select { // observers are called before the client gets the response
		case name := <-w.names:
			if name != want {
				t.Errorf("name %q, want %q", name, want)
			}
		default:
			t.Errorf("no run %q", want)
		}
	}
}
