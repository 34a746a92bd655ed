package httpmw_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/httpmw"
)

// A handler that takes a key by itself answers as the middleware does.
func ExampleProblem() {
	store := guardtest.NewStore()
	g, err := guard.New(store, guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	publish := func(w http.ResponseWriter, r *http.Request) {
		err := g.Do(r.Context(), "catalogue", func(context.Context) error { return nil })
		if err != nil {
			httpmw.Problem(w, r, err)
		}
	}
	store.Hold("catalogue", "a worker")
	w := httptest.NewRecorder()
	publish(w, httptest.NewRequest(http.MethodPost, "/publish", http.NoBody))
	fmt.Println(w.Code, w.Header().Get("Content-Type"), w.Header().Get("Retry-After"))
	fmt.Println(w.Body)
	// Output:
	// 409 application/problem+json 1
	// {"type":"about:blank","title":"Conflict","status":409,"detail":"What the request is about is in use."}
}
