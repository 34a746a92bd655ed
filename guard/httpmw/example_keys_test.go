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

// The name of the wildcard is part of the key: a Do on the same order is in the way of the
// first route alone.
func Example_keys() {
	g, err := guard.New(guardtest.NewStore(), guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	shipOrder := func(http.ResponseWriter, *http.Request) {}

	once := httpmw.New(g, httpmw.PathValue("order"))
	mux := http.NewServeMux()
	mux.Handle("POST /orders/{order}/ship", once(http.HandlerFunc(shipOrder)))

	mux.Handle("POST /parcels/{id}/ship", httpmw.New(g, httpmw.PathValue("id"))(http.HandlerFunc(shipOrder)))
	err = g.Do(context.Background(), guard.Key("order", "42"), func(context.Context) error {
		for _, target := range []string{"/orders/42/ship", "/parcels/42/ship"} {
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, target, http.NoBody))
			fmt.Println(target, w.Code)
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// /orders/42/ship 409
	// /parcels/42/ship 200
	// <nil>
}
