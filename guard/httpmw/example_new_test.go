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

// Requests and a worker exclude each other if their keys are the same.
func ExampleNew() {
	g, err := guard.New(guardtest.NewStore(), guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	once := httpmw.New(g, httpmw.PathValue("sku"))
	mux := http.NewServeMux()
	mux.Handle("POST /stock/{sku}", once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "sold")
	})))
	post := func(target string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, target, http.NoBody))
		fmt.Println(target, w.Code)
	}
	err = g.Do(context.Background(), guard.Key("sku", "a42"), func(context.Context) error {
		post("/stock/a42")
		post("/stock/b7")
		return nil
	})
	post("/stock/a42")
	fmt.Println(err)
	// Output:
	// /stock/a42 409
	// /stock/b7 200
	// /stock/a42 200
	// <nil>
}
