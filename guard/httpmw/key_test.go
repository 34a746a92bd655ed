package httpmw_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/httpmw"
)

func TestPathValueYieldsTheKeyThatAWorkerBuilds(t *testing.T) {
	keys := make(chan string, 1)
	mux := http.NewServeMux()
	capture := func(pattern string, f httpmw.KeyFunc) {
		mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) {
			k, err := f(r)
			if err != nil {
				t.Error(err)
			}
			keys <- k
		})
	}
	capture("/one/{sku}", httpmw.PathValue("sku"))
	capture("/two/{a}/{b}", httpmw.PathValue("a", "b"))
	capture("/header", httpmw.Header("X-Tenant"))
	capture("/host", httpmw.Header("Host"))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	for path, want := range map[string]string{
		"/one/a42":      guard.Key("sku", "a42"),
		"/one/a%2Fb":    guard.Key("sku", "a/b"), // decoded
		"/one/a%00b":    guard.Key("sku", "a\x00b"),
		"/one/a%3Ab%7B": guard.Key("sku", "a:b{"),
		"/two/x/y":      guard.Key("a", "x", "b", "y"),
		"/two/x%3Ab/y":  guard.Key("a", "x:b", "b", "y"),
		"/header":       guard.Key("x-tenant", "acme"),
		"/host":         guard.Key("host", srv.Listener.Addr().String()),
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("x-TENANT", "acme")
		res, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := <-keys; got != want {
			t.Errorf("%s: key %q, want %q", path, got, want)
		}
	}
}

func TestDifferentPartsNeverMakeTheSameKey(t *testing.T) {
	raw := func(name string) httpmw.KeyFunc {
		return func(r *http.Request) (string, error) { return r.Header.Get(name), nil }
	}
	join := httpmw.Join(raw("A"), raw("B"))
	nested := httpmw.Join(httpmw.Join(raw("A"), raw("B")), raw("C"))
	flat := httpmw.Join(raw("A"), httpmw.Join(raw("B"), raw("C")))
	three := httpmw.Join(raw("A"), raw("B"), raw("C"))
	values := []string{"a", "a:", ":a", "a:b", "b", ":", "%3A", "a%3A", "a%3Ab", "b:c", "~"}
	seen := make(map[string]string)
	for _, a := range values {
		for _, b := range values {
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			r.Header.Set("A", a)
			r.Header.Set("B", b)
			r.Header.Set("C", "c")
			for name, f := range map[string]httpmw.KeyFunc{"join": join, "nested": nested, "flat": flat, "three": three} {
				k, err := f(r)
				if err != nil {
					t.Fatal(err)
				}
				what := a + " " + b
				if other, ok := seen[name+k]; ok {
					t.Errorf("%s: %q and %q make the same key %q", name, what, other, k)
				}
				seen[name+k] = what
			}
		}
	}
}

func TestErrorsOfKeysHaveAName(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	empty := func(*http.Request) (string, error) { return "", nil }
	for name, f := range map[string]httpmw.KeyFunc{
		"path value": httpmw.PathValue("sku"),
		"header":     httpmw.Header("X-Tenant"),
		"join":       httpmw.Join(empty),
		"joined":     httpmw.Join(httpmw.Header("X-Tenant")),
	} {
		k, err := f(r)
		if k != "" || !errors.Is(err, httpmw.ErrEmptyComponent) || !errors.Is(err, guard.ErrInvalidKey) {
			t.Errorf("%s: %q, %v", name, k, err)
		}
	}
	failed := errors.New("failed")
	_, err := httpmw.Join(func(*http.Request) (string, error) { return "", failed })(r)
	if err != failed {
		t.Errorf("Join hides the error of a part: %v", err)
	}
}

func TestListGivenToAKeyFuncIsTheCallersAgain(t *testing.T) {
	names := []string{"sku"}
	parts := []httpmw.KeyFunc{httpmw.PathValue(names...)}
	key := httpmw.Join(parts...)
	names[0], parts[0] = "id", httpmw.Header("X-Tenant")
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.SetPathValue("sku", "a42")
	if k, err := key(r); k != guard.Key(guard.Key("sku", "a42")) || err != nil {
		t.Errorf("key %q, %v", k, err)
	}
}

// The values are too long for a key, or cannot be in one as they are. guard.Key makes
// a readable part and a SHA-256 of them.
func TestLongValuesThatDifferInTheLastByteDoNotExcludeOneAnother(t *testing.T) {
	long := strings.Repeat("a", 4095)
	for name, c := range map[string]struct{ path, header, other string }{
		"long path value":          {path: "/stock/" + long + "1", other: "/stock/" + long + "2"},
		"control characters":       {path: "/stock/" + strings.Repeat("%00%0A%7F", 1365) + "1", other: "/stock/" + strings.Repeat("%00%0A%7F", 1365) + "2"},
		"long, not UTF-8":          {path: "/stock/" + strings.Repeat("%FF", 4095) + "1", other: "/stock/" + strings.Repeat("%FF", 4095) + "2"},
		"runes where it is cut":    {path: "/stock/" + strings.Repeat("%E2%82%AC", 1365) + "1", other: "/stock/" + strings.Repeat("%E2%82%AC", 1365) + "2"},
		"last byte is of controls": {path: "/stock/" + long + "%00", other: "/stock/" + long + "%01"},
		"long header":              {path: "/tenant", header: long + "1", other: long + "2"},
		"header that is not ASCII": {path: "/tenant", header: strings.Repeat("\xff", 4095) + "\t1", other: strings.Repeat("\xff", 4095) + "\t2"},
	} {
		t.Run(name, func(t *testing.T) {
			running, end := make(chan struct{}), make(chan struct{})
			stay := func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut {
					close(running)
					<-end
				}
				ok(w, r)
			}
			w := newWorld(t, stay, withGuard(guard.Wait(0)))
			w.mux.Handle("/tenant", httpmw.New(w.guard, httpmw.Header("X-Tenant"))(http.HandlerFunc(stay)))
			send := func(method string, other bool) answer {
				path, header := c.path, c.header
				switch {
				case other && header != "":
					header = c.other
				case other:
					path = c.other
				}
				r, err := http.NewRequestWithContext(t.Context(), method, w.URL+path, http.NoBody)
				if err != nil {
					return answer{err: err}
				}
				r.Header.Set("X-Tenant", header)
				return w.do(r)
			}
			first := make(chan answer)
			go func() { first <- send(http.MethodPut, false) }()
			begun(t, running, first)
			if a := send(http.MethodPost, true); !a.whole() || a.StatusCode != http.StatusOK {
				t.Errorf("another value: got %+v", a)
			}
			if a := send(http.MethodPost, false); !a.whole() || a.StatusCode != http.StatusConflict {
				t.Errorf("the same value: got %+v", a)
			}
			close(end)
			if a := <-first; !a.whole() || a.StatusCode != http.StatusOK {
				t.Errorf("got %+v", a)
			}
		})
	}
}

// A path without a value may be the client's fault; a route without the wildcard is
// not, and would go unnoticed.
func TestWildcardThatTheRouteDoesNotHaveIsLoggedOnce(t *testing.T) {
	var logged bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	defer slog.SetDefault(before)
	ask := func(f httpmw.KeyFunc, pattern string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/stock/", nil)
		r.Pattern = pattern
		if _, err := f(r); !errors.Is(err, httpmw.ErrEmptyComponent) {
			t.Errorf("key of %q: %v, want ErrEmptyComponent", pattern, err)
		}
	}
	for _, pattern := range []string{"GET /stock/{sku}", "/stock/{sku...}", "/stock/{sku:[a-z]+}", "/stock/:sku", "/stock/*sku"} {
		ask(httpmw.PathValue("sku"), pattern)
	}
	if logged.Len() > 0 {
		t.Errorf("logged %s", &logged)
	}
	for _, pattern := range []string{"GET /sku/{id}", ""} {
		wrong := httpmw.PathValue("sku")
		for range 3 {
			ask(wrong, pattern)
		}
	}
	if n := strings.Count(logged.String(), "level=ERROR"); n != 2 || !strings.Contains(logged.String(), "sku") {
		t.Errorf("logged %d times for two routes: %s", n, &logged)
	}
}
