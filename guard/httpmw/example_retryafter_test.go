package httpmw_test

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/httpmw"
)

// Clients of this service read the time from the body.
func ExampleRetryAfter() {
	store := guardtest.NewStore()
	g, err := guard.New(store, guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	once := httpmw.New(g, httpmw.Header("X-Tenant"),
		httpmw.WithErrorHandler(func(w http.ResponseWriter, _ *http.Request, err error) {
			status := http.StatusServiceUnavailable
			if errors.Is(err, guard.ErrInvalidKey) {
				status = http.StatusBadRequest
			}
			w.WriteHeader(status)
			fmt.Fprintf(w, "{\"retry_after\":%v}\n", httpmw.RetryAfter(err).Seconds())
		}))
	invoice := once(http.NotFoundHandler())
	store.Hold(guard.Key("x-tenant", "acme"), "a worker")
	for _, tenant := range []string{"acme", ""} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/invoice", http.NoBody)
		r.Header.Set("X-Tenant", tenant)
		invoice.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 503 {"retry_after":1}
	// 400 {"retry_after":0}
}
