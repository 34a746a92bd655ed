package httpmw_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/httpmw"
)

// A worker joins the same keys with guard.Key.
func ExampleJoin() {
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	once := httpmw.New(g, httpmw.Join(httpmw.Header("X-Tenant"), httpmw.PathValue("sku")))
	mux := http.NewServeMux()
	mux.Handle("POST /stock/{sku}", once(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		worker := guard.Key(guard.Key("x-tenant", "acme"), guard.Key("sku", "a42"))
		fmt.Println("held:", store.Keys(), store.Keys()[0] == worker)
	})))
	r := httptest.NewRequest(http.MethodPost, "/stock/a42", http.NoBody)
	r.Header.Set("X-Tenant", "acme")
	mux.ServeHTTP(httptest.NewRecorder(), r)
	// Output: held: [x-tenant%3Aacme:sku%3Aa42] true
}
