package httpmw_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
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
