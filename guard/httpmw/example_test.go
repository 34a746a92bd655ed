package httpmw_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/httpmw"
)

func Example() {
	store := guardtest.NewStore() // in a program: redisstore.New(client)
	g, err := guard.New(store, guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	sell := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, fenced := guard.Fence(r.Context())
		fmt.Fprintln(w, "sold", r.PathValue("sku"), "under a token:", fenced)
	})
	once := httpmw.New(g, httpmw.PathValue("sku"))
	mux := http.NewServeMux()
	mux.Handle("POST /stock/{sku}", once(sell))
	srv := httptest.NewServer(mux)
	defer srv.Close()

	post := func() {
		res, err := http.Post(srv.URL+"/stock/a42", "", http.NoBody)
		if err != nil {
			log.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		fmt.Printf("%d %q %s %v\n", res.StatusCode, res.Header.Get("Retry-After"), body, err)
	}
	post()
	store.Hold(guard.Key("sku", "a42"), "a worker")
	post()
	// Output:
	// 200 "" sold a42 under a token: true
	//  <nil>
	// 409 "1" {"type":"about:blank","title":"Conflict","status":409,"detail":"What the request is about is in use. Nothing was done."} <nil>
}
