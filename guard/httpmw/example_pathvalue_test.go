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

func ExamplePathValue() {
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	once := httpmw.New(g, httpmw.PathValue("file"))
	mux := http.NewServeMux()
	mux.Handle("PUT /files/{file}", once(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		fmt.Println("held:", store.Keys())
	})))
	mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/files/a42", http.NoBody))
	mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/files/a%2F42", http.NoBody))
	// Output:
	// held: [file:a42]
	// held: [file:a/42]
}

// The same sku of two tenants has two keys.
func ExamplePathValue_several() {
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	once := httpmw.New(g, httpmw.PathValue("tenant", "sku"))
	mux := http.NewServeMux()
	mux.Handle("POST /{tenant}/stock/{sku}", once(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		fmt.Println("held:", store.Keys())
	})))
	mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/acme/stock/a42", http.NoBody))
	mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/globex/stock/a42", http.NoBody))
	// Output:
	// held: [tenant:acme:sku:a42]
	// held: [tenant:globex:sku:a42]
}
