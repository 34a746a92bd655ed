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

func ExampleHeader() {
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	once := httpmw.New(g, httpmw.Header("X-Tenant"))
	invoice := once(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		fmt.Println("held:", store.Keys())
	}))
	for _, tenant := range []string{"acme", ""} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/invoice", http.NoBody)
		r.Header.Set("X-Tenant", tenant)
		invoice.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// held: [x-tenant:acme]
	// 200
	// 400
}
